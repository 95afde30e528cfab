// The residues that the server reads in the text, as a row of buttons. One of them opens a menu of what it can become, or
// be bonded to; the change is the server's, and comes back as text.

import { element } from "./api.js";

const COLOURS = 4;

export class Picker {
  // `change` takes what to ask of the server, and answers whether it was done.
  constructor(strip, menu, bonds, change) {
    Object.assign(this, { strip, menu, bonds, change });
    this.table = new Map();
    this.read = null;
    this.open = null; // position whose menu is shown
    strip.addEventListener("keydown", walk);
    menu.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.close();
      else walk(event);
    });
  }

  // `read` is what the server answered, or null; a ring may also be stated beside the text.
  show(read, table, cyclic, automatic) {
    if (JSON.stringify(read?.residues) !== JSON.stringify(this.read?.residues)) this.hide();
    Object.assign(this, { read, table, cyclic, automatic });
    this.draw();
  }

  residue(place) {
    return this.table.get(this.read.residues[place - 1]);
  }

  draw() {
    const { read } = this;
    const end = (text, title) => element("span", { class: "ring-end", textContent: text, title });
    const chips = read?.residues.map((code, index) => this.chip(index + 1)) ?? [];
    if (read && this.cyclic) {
      chips.unshift(end("\u21b1", "bonded to the last residue"));
      chips.push(end("\u21b0", "bonded to the first residue"));
    }
    if (read?.n_cap) chips.unshift(end(read.n_cap, "N-terminal cap"));
    if (read?.c_cap) chips.push(end(read.c_cap, "C-terminal cap"));
    this.strip.replaceChildren(...chips);
    this.bonds.replaceChildren(
      ...(read?.disulfides ?? []).map((pair, index) => element("li", {}, element("button", {
        type: "button", class: `bond-${index % COLOURS}`,
        textContent: `${pair.map((place) => `${this.residue(place).name} ${place}`).join(" \u2013 ")} \u00d7`,
        "aria-label": `Remove the disulfide ${pair[0]} to ${pair[1]}`,
        onclick: () => this.ask(pair[0], { disulfides: read.disulfides.filter((each) => each !== pair) }),
      }))),
      ...(read?.bonds ?? []).map((bond) => element("li", {}, element("span", { class: "mono", textContent: bond }))));
  }

  chip(place) {
    const { code, name, full_name, parent, hand, modified } = this.residue(place);
    const index = this.read.disulfides.findIndex((pair) => pair.includes(place));
    const partner = this.read.disulfides[index]?.find((each) => each !== place);
    const marks = [hand === "D" ? "d" : "", modified ? "modified" : "", partner ? `bonded bond-${index % COLOURS}` : ""];
    return element("button", {
      type: "button",
      class: ["residue", ...marks].filter(Boolean).join(" "),
      title: full_name,
      tabIndex: place === (this.open ?? 1) ? 0 : -1,
      "aria-expanded": String(place === this.open),
      "aria-controls": this.menu.id,
      "aria-label": `${name} ${place}${partner ? `, bonded to ${partner}` : ""}`,
      "data-place": place,
      onclick: () => (place === this.open ? this.close() : this.choose(place)),
    }, modified ? code : parent, element("small", { textContent: hand === "D" ? `D ${place}` : place }));
  }

  // Show what a residue can become.
  choose(place) {
    this.open = place;
    const now = this.residue(place);
    const alike = [...this.table.values()].filter((each) => each.parent === now.parent);
    const button = (each, ...words) => element("button", {
      type: "button", title: each.full_name, "aria-pressed": String(each === now),
      onclick: () => this.ask(place, { change: { place, residue: each.code } }),
    }, ...words);
    const partners = this.automatic || !this.free(place) ? [] : this.read.residues.map((_, index) => index + 1)
      .filter((other) => other !== place && this.free(other));
    const other = element("input", { type: "text", id: "other-residue", maxLength: 100, placeholder: "code or name" });
    other.addEventListener("input", (event) => event.stopPropagation()); // it is no field of the form
    other.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.ask(place, { change: { place, residue: other.value } });
    });
    this.menu.setAttribute("aria-label", `${now.name} ${place}`);
    this.menu.replaceChildren(
      element("p", { textContent: `${place}: ${now.name}, ${now.full_name} (${now.code})` }),
      element("div", {}, ...alike.filter((each) => !each.modified).map((each) => button(each, each.hand === "L" ? `L-${each.name}` : each.name))),
      element("div", {}, ...alike.filter((each) => each.modified)
        .map((each) => button(each, `${each.name} `, element("small", { textContent: each.name === each.code ? "" : each.code })))),
      element("div", {}, ...partners.map((partner) => element("button", {
        type: "button", textContent: `bond to ${this.residue(partner).name} ${partner}`,
        onclick: () => this.ask(place, { disulfides: [...this.read.disulfides, [place, partner]] }),
      }))),
      element("label", {}, "Another residue, then Enter", other),
    );
    this.menu.hidden = false;
    this.draw();
    this.menu.querySelector('[aria-pressed="true"]').focus();
  }

  free(place) {
    return this.residue(place).thiol && !this.read.disulfides.some((pair) => pair.includes(place));
  }

  async ask(place, wanted) {
    if (await this.change(wanted)) this.close(place);
  }

  hide() {
    this.open = null;
    this.menu.hidden = true;
  }

  close(place = this.open) {
    this.hide();
    this.draw();
    const chip = this.strip.querySelector(`[data-place="${place}"]`);
    this.strip.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    chip?.setAttribute("tabindex", "0");
    chip?.focus();
  }
}

// Arrow keys move between the buttons of a group.
function walk(event) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const at = buttons.indexOf(event.target);
  if (!step || at < 0) return;
  event.preventDefault();
  buttons[(at + step + buttons.length) % buttons.length].focus();
}
