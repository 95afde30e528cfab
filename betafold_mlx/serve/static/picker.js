// The residues of the sequence as a strip: two clicks on cysteines bond them, a click on a bonded one removes the bond.

import { element } from "./api.js";

const COLOURS = 4;

export class Picker {
  constructor(strip, list, hint, changed) {
    this.strip = strip;
    this.list = list;
    this.hint = hint;
    this.changed = changed;
    this.sequence = "";
    this.cyclic = false;
    this.automatic = false;
    this.pairs = [];
    this.first = null;
  }

  // What the sequence is now: bonds stay where both ends are still cysteines.
  update(sequence, cyclic, automatic) {
    this.sequence = sequence;
    this.cyclic = cyclic;
    this.automatic = automatic;
    this.pairs = this.pairs.filter((pair) => pair.every((place) => sequence[place - 1] === "C"));
    if (this.first !== null && (automatic || sequence[this.first - 1] !== "C")) this.first = null;
    this.draw();
  }

  set(pairs) {
    this.pairs = pairs.map((pair) => [...pair].sort((a, b) => a - b));
    this.first = null;
  }

  press(place) {
    const bonded = this.pairs.findIndex((pair) => pair.includes(place));
    if (bonded >= 0) {
      this.pairs.splice(bonded, 1);
      this.first = null;
    } else if (this.first === null) this.first = place;
    else {
      if (this.first !== place) this.pairs.push([this.first, place].sort((a, b) => a - b));
      this.first = null;
    }
    this.pairs.sort((a, b) => a[0] - b[0]);
    this.changed();
    this.draw();
    this.strip.querySelector(`[data-place="${place}"]`)?.focus();
  }

  draw() {
    const cysteines = [...this.sequence].filter((letter) => letter === "C").length;
    this.strip.replaceChildren(...[...this.sequence].map((letter, index) => this.residue(letter, index + 1, cysteines)));
    if (this.cyclic && this.sequence) {
      this.strip.prepend(element("span", { class: "ring-end", textContent: "\u21b1", title: "bonded to the last residue" }));
      this.strip.append(element("span", { class: "ring-end", textContent: "\u21b0", title: "bonded to the first residue" }));
    }
    const pairs = this.automatic ? [] : this.pairs;
    this.list.replaceChildren(...pairs.map((pair, index) => element("li", {}, element("button", {
      type: "button", class: `bond-${index % COLOURS}`, textContent: `Cys ${pair[0]} \u2013 Cys ${pair[1]} \u00d7`,
      "aria-label": `Remove the disulfide ${pair[0]} to ${pair[1]}`, onclick: () => this.press(pair[0]),
    }))));
    this.hint.textContent = this.words(cysteines);
  }

  residue(letter, place, cysteines) {
    const number = element("small", { textContent: place });
    if (letter !== "C" || cysteines < 2 || this.automatic) return element("span", { class: "residue" }, letter, number);
    const index = this.pairs.findIndex((pair) => pair.includes(place));
    const partner = index >= 0 ? this.pairs[index].find((each) => each !== place) : null;
    return element("button", {
      type: "button",
      class: index >= 0 ? `residue bonded bond-${index % COLOURS}` : "residue",
      "aria-pressed": String(this.first === place),
      "aria-label": `Cysteine ${place}${partner ? `, bonded to ${partner}` : ""}`,
      "data-place": place,
      onclick: () => this.press(place),
    }, letter, number);
  }

  words(cysteines) {
    if (cysteines < 2) return "";
    if (this.automatic) return "The model chooses the disulfides.";
    if (this.first !== null) return `Cysteine ${this.first} with \u2026? Choose its partner.`;
    return this.pairs.length ? "Choose a bonded cysteine to remove its bond." : "Choose two cysteines to bond them.";
  }
}
