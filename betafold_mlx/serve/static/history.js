// What was folded in this tab, newest first. It is kept by the browser until the tab is closed, and nowhere else.

import { element } from "./api.js";

const KEY = "betafold-mlx";
const MOST = 50;

export class History {
  constructor(list, empty, forget, chosen) {
    this.list = list;
    this.empty = empty;
    this.forget = forget;
    this.chosen = chosen;
    this.entries = read();
    forget.addEventListener("click", () => this.replace([]));
    this.draw(null);
  }

  add(entry) {
    const same = JSON.stringify(entry.asked);
    this.replace([entry, ...this.entries.filter((each) => JSON.stringify(each.asked) !== same)].slice(0, MOST), entry);
  }

  replace(entries, current = null) {
    this.entries = entries;
    try {
      sessionStorage.setItem(KEY, JSON.stringify(entries));
    } catch { /* no room, or not allowed: then it lasts as long as the page */ }
    this.draw(current);
  }

  draw(current) {
    this.empty.hidden = this.forget.hidden = false;
    this.empty.hidden = this.entries.length > 0;
    this.forget.hidden = this.entries.length === 0;
    this.list.replaceChildren(...this.entries.map((entry) => element("li", {}, element("button", {
      type: "button", "aria-current": String(entry === current), onclick: () => { this.draw(entry); this.chosen(entry); },
    }, element("strong", { textContent: entry.name }), element("span", { textContent: entry.words })))));
  }
}

function read() {
  try {
    const entries = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    return Array.isArray(entries) ? entries.filter((entry) => entry?.asked && entry.name).slice(0, MOST) : [];
  } catch {
    return [];
  }
}
