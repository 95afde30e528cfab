"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const length = data.sequence.length;
  const CA = 1, CB = 4;
  let model = 0;

  // Which model is shown
  const chosen = [];
  for (const input of document.querySelectorAll("input[name=model]")) {
    input.addEventListener("change", () => choose(Number(input.value) - 1));
    if (input.checked) chosen.push(Number(input.value) - 1); // a browser may remember a choice over a reload
  }
  function choose(number) {
    model = number;
    for (const part of document.querySelectorAll("[data-model]")) {
      part.toggleAttribute("hidden", Number(part.dataset.model) !== number + 1);
    }
    if (scene) draw();
  }

  // Maps of pairs: the mouse and the arrow keys read them
  const unpacked = data.attention === null ? null : Uint8Array.from(atob(data.attention), (c) => c.charCodeAt(0));
  let layer = 0, head = 0;
  function apart(i, j) {
    const [a, b] = [data.models[model].atoms[i][CA], data.models[model].atoms[j][CA]];
    return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) / 100;
  }
  const readings = {
    distance(i, j) {
      const here = `${apart(i, j).toFixed(1)} Å in model ${model + 1}`;
      if (data.distance === null || data.distance[i][j] === null) return `${data.names[i]} and ${data.names[j]}: ${here}`;
      const expected = (data.distance[i][j] / 10).toFixed(1), deviation = (data.deviation[i][j] / 10).toFixed(1);
      return `${data.names[i]} and ${data.names[j]}: expected ${expected} ± ${deviation} Å, ${here}`;
    },
    attention(i, j) {
      const weight = unpacked[((layer * data.heads + head) * length + i) * length + j] / 255;
      return `${data.names[i]} listens to ${data.names[j]} with weight ${weight.toFixed(2)}`;
    },
  };
  for (const map of document.querySelectorAll(".map")) {
    const picture = map.querySelector("svg"), cursor = map.querySelector(".cursor");
    const [left, top, size] = ["left", "top", "size"].map((key) => Number(picture.dataset[key]));
    const readout = map.nextElementSibling;
    let row = -1, column = -1;
    map.read = () => {
      if (row >= 0) readout.textContent = readings[map.dataset.kind](row, column);
    };
    function point(i, j) {
      [row, column] = [i, j];
      cursor.removeAttribute("hidden");
      cursor.setAttribute("x", left + (j * size) / length);
      cursor.setAttribute("y", top + (i * size) / length);
      map.read();
    }
    map.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect(), scale = picture.viewBox.baseVal.width / box.width;
      const place = (at, start, before) => Math.floor((((at - start) * scale - before) / size) * length);
      const i = place(event.clientY, box.top, top), j = place(event.clientX, box.left, left);
      if (i >= 0 && j >= 0 && i < length && j < length) point(i, j);
    });
    map.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      const inside = (place) => Math.min(Math.max(place, 0), length - 1);
      if (row < 0) point(0, 0);
      else point(inside(row + step[0]), inside(column + step[1]));
    });
  }

  // Attention: the chosen head in large
  for (const input of document.querySelectorAll("input[name=head]")) {
    const show = () => {
      [layer, head] = input.value.split("-").map((part) => Number(part) - 1);
      document.getElementById("attention-name").textContent = `Layer ${layer + 1}, head ${head + 1}`;
      const map = document.querySelector(".map[data-kind=attention]");
      map.querySelector("image").setAttribute("href", input.nextElementSibling.src);
      map.read();
    };
    input.addEventListener("change", show);
    if (input.checked) show();
  }

  // The structure in 3D
  let scene = null;
  const box = document.getElementById("viewer");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const checked = (id) => Boolean(document.getElementById(id)?.checked);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const bandOf = (plddt) => data.bands.find(([lowest]) => plddt > lowest) ?? data.bands[data.bands.length - 1];
  const at = ([x, y, z]) => ({ x: x / 100, y: y / 100, z: z / 100 });

  function atomsOf(number) {
    const { atoms, plddt, structure } = data.models[number];
    const list = [];
    const kinds = { H: "h", E: "s", C: "c" };
    atoms.forEach((residue, i) => {
      residue.forEach((place, k) => {
        const atom = data.atoms[i][k], index = list.length;
        list.push({
          ...at(place), elem: data.elements[i][k], atom, resn: data.names[i], resi: i + 1, chain: "A", serial: index + 1, index,
          hetflag: false, b: plddt[i], bonds: [], bondOrder: [], ss: kinds[structure[i]],
          ssbegin: structure[i] !== structure[i - 1], ssend: structure[i] !== structure[i + 1], properties: {},
        });
      });
    });
    for (const [a, b, order] of data.chain_bonds) {
      [[a, b], [b, a]].forEach(([from, to]) => {
        list[from].bonds.push(to);
        list[from].bondOrder.push(order);
      });
    }
    return list;
  }
  function drawBonds(number) {
    const { atoms, bonds } = data.models[number];
    const stick = (start, end, color, radius, dashed) =>
      scene.addCylinder({ start: at(start), end: at(end), color, radius, dashed, fromCap: 1, toCap: 1 });
    for (const { kind, residues: [i, j], formed } of bonds) {
      const [a, b] = [atoms[i - 1], atoms[j - 1]];
      const color = formed ? css(kind === "ring" ? "--ring" : "--bridge") : css("--quiet");
      const radius = formed ? 0.28 : 0.1;
      if (kind === "ring") {
        stick(b[CA], b[2], color, radius), stick(b[2], a[0], color, radius), stick(a[0], a[CA], color, radius);
      } else {
        const [s, t] = [data.atoms[i - 1].indexOf("SG"), data.atoms[j - 1].indexOf("SG")];
        stick(a[CA], a[CB], color, radius), stick(b[CA], b[CB], color, radius);
        if (s < 0 || t < 0) {
          stick(a[CB], b[CB], color, radius, true); // without side chains
          continue;
        }
        stick(a[CB], a[s], color, radius), stick(b[CB], b[t], color, radius);
        stick(a[s], b[t], color, radius, !formed);
      }
    }
  }
  const closing = new Set();
  {
    const flat = data.atoms.flatMap((names, i) => names.map((atom) => [i, atom]));
    for (const [a, b] of data.chain_bonds) {
      const [[i, one], [j, other]] = [flat[a], flat[b]];
      if (i === j && one === "N" && other !== "CA") closing.add(a);
      if (i === j && other === "N" && one !== "CA") closing.add(b);
    }
  }
  function draw() {
    scene.removeAllModels();
    scene.removeAllShapes();
    scene.removeAllLabels();
    scene.setBackgroundColor(css("--paper"), 1);
    const colour = (atom) => bandOf(atom.b)[1];
    const elements = { N: css("--nitrogen"), O: css("--oxygen"), S: css("--bridge") };
    const ofAtom = (atom) => (atom.elem === "C" ? colour(atom) : elements[atom.elem] ?? css("--quiet"));
    // From CA on; N too where the side chain comes back to it, as in proline
    const inSideChain = ({ atom, index }) => !["N", "C", "O", "OXT"].includes(atom) || (atom === "N" && closing.has(index));
    const others = checked("show-overlay") ? data.models.map((_, n) => n).filter((n) => n !== model) : [];
    for (const number of [...others, model]) {
      const added = scene.addModel();
      added.addAtoms(atomsOf(number));
      const faint = number === model ? {} : { opacity: 0.35 };
      added.setStyle({}, { cartoon: { colorfunc: colour, thickness: 0.5, ...faint } });
      if (number !== model) continue;
      if (checked("show-sticks")) {
        added.setStyle({ predicate: inSideChain }, { stick: { radius: 0.14, colorfunc: ofAtom } }, true);
      }
      added.setHoverable({}, true, showName, hideName);
    }
    drawBonds(model);
    if (checked("show-labels")) {
      data.models[model].atoms.forEach((residue, i) => scene.addLabel(named(i), labelStyle(residue[CA])));
    }
    scene.render();
  }
  const named = (i) => `${data.names[i]} ${Math.round(data.models[model].plddt[i])}`;
  const labelStyle = (place) => ({
    position: at(place), fontSize: 12, fontColor: css("--ink"), backgroundColor: css("--panel"), backgroundOpacity: 0.8,
    inFront: true, alignment: "center",
  });
  let name = null;
  function showName(atom) {
    if (name || checked("show-labels")) return;
    const i = atom.resi - 1;
    const said = `${named(i)}, ${bandOf(atom.b)[2]}`;
    name = scene.addLabel(said, labelStyle(data.models[model].atoms[i][CA]));
    scene.render();
  }
  function hideName() {
    if (name) scene.removeLabel(name);
    name = null;
    scene.render();
  }
  function fit() {
    scene.zoomTo(); // into the height: a narrow window needs more
    scene.zoom(1.15 * Math.min(1, box.clientWidth / box.clientHeight / 1.4));
    scene.render();
  }
  function start() {
    const solid = document.getElementById("solid"), flat = document.getElementById("flat");
    try {
      if (!document.createElement("canvas").getContext("webgl2") && !document.createElement("canvas").getContext("webgl")) {
        throw new Error("no WebGL");
      }
      solid.hidden = false;
      scene = $3Dmol.createViewer(box, { backgroundColor: css("--paper"), antialias: true, disableFog: true });
      draw();
      fit();
      flat.hidden = true;
    } catch (error) {
      scene = null;
      solid.hidden = true;
      flat.hidden = false;
      document.getElementById("no-3d").hidden = false;
      return;
    }
    const opening = scene.getView();
    const reset = () => {
      scene.setView(opening);
      fit();
    };
    for (const id of ["show-sticks", "show-labels", "show-overlay"]) document.getElementById(id)?.addEventListener("change", draw);
    document.getElementById("reset-view").addEventListener("click", reset);
    dark.addEventListener("change", draw);
    addEventListener("resize", () => {
      scene.resize();
      fit();
    });
    box.addEventListener("keydown", (event) => {
      const turn = { ArrowLeft: [-10, "y"], ArrowRight: [10, "y"], ArrowUp: [-10, "x"], ArrowDown: [10, "x"] }[event.key];
      const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
      if (turn) scene.rotate(...turn);
      else if (zoom) scene.zoom(zoom);
      else return;
      event.preventDefault();
      scene.render();
    });
  }
  if (box && typeof $3Dmol !== "undefined") start();
  if (chosen.length && chosen[0] !== 0) choose(chosen[0]);

  // On paper everything is open
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not(.licence)")) part.open = true;
  });
})();
