// The page: a form, a result, the history, and the tabs around them.

import { ask, clearProblems, element, Refused, showProblems } from "./api.js";
import { numberOf, startBatchTab } from "./batch.js";
import { History } from "./history.js";
import { Picker } from "./picker.js";

const $ = (id) => document.getElementById(id);
const EXAMPLE = { sequence: "cyclo(GRC(1)TKSIPPIC(1)FPD)", id: "SFTI-1", samples: 5 };
const FILES = { cif: "mmCIF", pdb: "PDB", json: "JSON", html: "report" };
const CAPS = {
  ACE: "acetyl", FOR: "formyl", MYR: "myristoyl", ClAc: "chloroacetyl", NH2: "amide", NME: "N-methylamide",
};
const TRIES = 5;

const form = $("fold");
let info = null;
let residues = null; // that can be a part of a peptide, by code
let asking = 0; // number of the latest question what the text says
let read = null; // the answer; null where there is none
const picker = new Picker($("residues"), $("menu"), $("bonds"), rewrite);
const history = new History($("history"), $("history-empty"), $("forget"), reopen);

startTabs();
start();

async function start() {
  try {
    const [told, table] = await Promise.all([ask("GET", "/api/v1/info"), ask("GET", "/api/v1/residues")]);
    info = told;
    residues = new Map(table.map((residue) => [residue.code, residue]));
  } catch (error) {
    $("model").textContent = error.message;
    return;
  }
  const { name, embedder } = info.model;
  $("model").textContent = `${name} (${embedder}), version ${info.version}`;
  for (const [id, caps] of [["n_cap", info.n_caps], ["c_cap", info.c_caps]]) {
    $(id).append(...caps.map((cap) => (
      element("option", { value: cap, textContent: CAPS[cap] ? `${CAPS[cap]} (${cap})` : cap }))));
  }
  $("samples").max = info.limits.samples;
  startBatchTab(info.limits, openRecord);
  refresh();
}

let named = false; // by the user: else the name goes with the sequence that it came with

form.addEventListener("input", (event) => {
  const field = event.target.closest("[data-field]")?.dataset.field;
  if (field === "id") named = true;
  if (field === "sequence" && !named) $("id").value = "";
  if (field) clearField(field);
  refresh();
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  fold();
});

$("example").addEventListener("click", () => {
  fill(EXAMPLE);
  fold();
});

// Ask the server what the text says, with a change if there is one; a later question makes this one idle.
async function readText(change = {}) {
  asking += 1;
  const mine = asking;
  const answer = await ask("POST", "/api/v1/read", {
    sequence: $("sequence").value, d_amino_acids: $("d_amino_acids").checked, ...change,
  });
  return mine === asking ? answer : null;
}

async function refresh() {
  if (info === null) return;
  let problem = "";
  try {
    const answer = await readText();
    if (answer === null) return;
    read = answer;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    read = null;
    problem = $("sequence").value.trim() ? error.fields[0]?.message ?? error.message : "";
  }
  draw(problem);
}

// Put a change into the text, which then says all of it.
async function rewrite(change) {
  clearField("disulfides");
  try {
    const answer = await readText(change);
    if (answer === null) return false;
    read = answer;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    $("residues-error").textContent = error.fields[0]?.message ?? error.message;
    return false;
  }
  $("sequence").value = read.one_letter;
  $("d_amino_acids").checked = false;
  if (!named) $("id").value = "";
  clearField("sequence");
  draw("");
  return true;
}

// Make the form say what can be said: the residues, and caps on chains with ends alone.
function draw(problem) {
  const closed = $("cyclic").checked || Boolean(read?.cyclic);
  const thiols = read?.residues.filter((code) => residues.get(code).thiol).length ?? 0;
  const [shortest, longest] = info.lengths;
  const known = `${shortest} to ${longest} residues, best ${info.trained_lengths.join(" to ")}: one-letter or three-letter codes, or HELM.`;
  $("sequence-hint").textContent = problem || (read ? `${read.residues.length} residues; ${known}` : known);
  $("notes").replaceChildren(...(read?.notes ?? []).map((note) => element("li", { textContent: note })));
  $("residues-field").hidden = read === null;
  $("auto-label").hidden = thiols < 2 || read.disulfides.length > 0;
  picker.show(read, residues, closed, $("auto").checked && !$("auto-label").hidden);
  for (const id of ["n_cap", "c_cap"]) {
    $(id).disabled = closed;
    if (closed) $(id).value = "";
  }
}

function asked() {
  const chosen = $("auto").checked && !$("auto-label").hidden;
  const wanted = {
    sequence: $("sequence").value,
    cyclic: $("cyclic").checked,
    disulfides: chosen ? "auto" : [],
    d_amino_acids: $("d_amino_acids").checked,
    n_cap: $("n_cap").value || null,
    c_cap: $("c_cap").value || null,
    samples: numberOf("samples"),
    seed: numberOf("seed"),
  };
  const name = $("id").value.trim();
  return name ? { ...wanted, id: name } : wanted;
}

function fill(wanted) {
  $("sequence").value = wanted.sequence;
  $("id").value = wanted.id ?? "";
  named = false;
  $("cyclic").checked = wanted.cyclic ?? false;
  $("d_amino_acids").checked = wanted.d_amino_acids ?? false;
  $("n_cap").value = wanted.n_cap ?? "";
  $("c_cap").value = wanted.c_cap ?? "";
  $("samples").value = Math.min(wanted.samples ?? 1, info?.limits.samples ?? 1);
  $("seed").value = wanted.seed ?? 0;
  $("auto").checked = wanted.disulfides === "auto";
  clearProblems(form);
  refresh();
}

async function fold() {
  clearProblems(form);
  const button = $("submit");
  button.disabled = true;
  button.classList.add("busy");
  button.textContent = "Folding";
  await refresh();
  const wanted = asked();
  try {
    const answer = await patiently(() => ask("POST", "/api/v1/fold", { ...wanted, keep: true }));
    const { result } = answer;
    const bonds = [...(result.cyclic ? ["ring"] : []), ...result.disulfides.map((pair) => `disulfide ${pair.join("–")}`)];
    const words = [`${result.length} residues`, ...bonds, `pLDDT ${result.mean_plddt.toFixed(1)}`].join(", ");
    history.add({ asked: wanted, files: answer.files, name: result.id, words });
    $("fold-state").textContent = `${result.id} is folded: ${words}`;
    show(result.id, answer.files);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    $("fold-error").textContent = showProblems(form, error);
  } finally {
    button.disabled = false;
    button.classList.remove("busy");
    button.textContent = "Fold";
  }
}

// A full queue is no error of the user's: ask again when the server says.
async function patiently(work) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (error.status !== 503 || !error.retryAfter || tries === TRIES) throw error;
      $("submit").textContent = "Waiting";
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.retryAfter));
    }
  }
}

function show(name, files) {
  $("result-title").textContent = name;
  $("downloads").replaceChildren(
    ...Object.entries(FILES).map(([kind, words]) => element("a", {
      href: kind === "html" ? `${files[kind]}?download=1` : files[kind], download: "", textContent: words, "data-kind": kind,
    })),
    element("a", { href: files.html, target: "_blank", rel: "noopener", textContent: "open the report in a tab" }),
  );
  $("result").hidden = false;
  $("report").contentWindow.location.replace(files.html); // no step of its own in the browser's history
  $("result").focus({ preventScroll: true });
  $("result").scrollIntoView({ block: "start" });
}

// An entry of the history: its files, or the same fold again where the server keeps them no longer.
async function reopen(entry) {
  fill(entry.asked);
  try {
    await ask("GET", entry.files.json);
  } catch {
    fold();
    return;
  }
  show(entry.name, entry.files);
}

function openRecord(record, samples, seed) {
  $("tab-one").click();
  fill({ id: record.id, sequence: record.one_letter, samples: samples ?? 1, seed: seed ?? 0 });
  fold();
}

function clearField(name) {
  const place = form.querySelector(`[data-field="${name}"]`);
  const slot = place?.querySelector(".error");
  if (slot) slot.textContent = "";
  place?.querySelector("[aria-invalid]")?.removeAttribute("aria-invalid");
}

function startTabs() {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const choose = (chosen) => {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      $(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
  };
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = tabs[(index + step + tabs.length) % tabs.length];
      choose(next);
      next.focus();
    });
  }
}
