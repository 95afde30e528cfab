// The tab for FASTA: start, follow, stop, download.

import { ask, clearProblems, element, Refused, showProblems } from "./api.js";

const $ = (id) => document.getElementById(id);
const PAUSE = 400; // milliseconds between two questions
const MOST_SHOWN = 2000;

export function startBatchTab(limits, open) {
  const form = $("batch");
  let key = null;

  $("fasta-hint").textContent = `Up to ${limits.records.toLocaleString("en")} records. In a header the words cyclic, `
    + "disulfides=1-15,5-19, all-d, n-cap=ACE and c-cap=NH2 state the chemistry.";
  $("batch-samples").max = limits.samples;

  $("file").addEventListener("change", async () => {
    const [file] = $("file").files;
    if (!file) return;
    clearProblems(form);
    if (file.size > limits.batch_bytes) {
      const message = `this file has ${file.size.toLocaleString("en")} bytes, and ${limits.batch_bytes.toLocaleString("en")} are read here: fold it with betafold-mlx fold`;
      showProblems(form, { fields: [{ field: "fasta", message }] });
    } else $("fasta").value = await file.text();
    $("file").value = "";
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    clearProblems(form);
    $("batch-submit").disabled = true;
    try {
      const batch = await ask("POST", "/api/v1/batches", {
        fasta: $("fasta").value,
        samples: numberOf("batch-samples"),
        seed: numberOf("batch-seed"),
        auto_disulfides: $("batch-auto").checked,
        include: ["cif", "pdb"].filter((kind) => $(`batch-${kind}`).checked),
      });
      key = batch.batch;
      $("batch-rows").replaceChildren();
      $("batch-downloads").replaceChildren();
      $("batch-result").hidden = false;
      $("batch-stop").hidden = false;
      await follow(batch);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      $("batch-error").textContent = showProblems(form, error);
    } finally {
      $("batch-submit").disabled = false;
      $("batch-stop").hidden = true;
    }
  });

  $("batch-stop").addEventListener("click", async () => {
    try {
      await ask("DELETE", `/api/v1/batches/${key}`);
    } catch (error) {
      $("batch-error").textContent = error.message;
    }
  });

  async function follow(batch) {
    for (let rows = 0; ;) {
      $("batch-rows").append(...batch.rows.slice(0, Math.max(0, MOST_SHOWN - rows)).map(row));
      rows += batch.rows.length;
      $("batch-progress").max = batch.total;
      $("batch-progress").value = rows;
      $("batch-state").textContent = words(batch);
      if (batch.state !== "running") break;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      batch = await ask("GET", `/api/v1/batches/${key}?after=${rows}`);
    }
    if (batch.zip) $("batch-downloads").append(element("a", { href: batch.zip, download: "", textContent: "all files (.zip)" }));
  }

  function row(record) {
    if (record.status === "failed") {
      return element("tr", { class: "failed" },
        element("td", { class: "name", textContent: record.id || "(no name)" }),
        element("td", { colSpan: 4, textContent: record.message }));
    }
    const name = element("button", {
      type: "button", class: "quiet", textContent: record.id, title: "Fold it by itself, with its report",
      onclick: () => open(record, numberOf("batch-samples"), numberOf("batch-seed")),
    });
    return element("tr", {},
      element("td", { class: "name" }, name),
      element("td", { textContent: record.sequence.length }),
      element("td", { textContent: record.mean_plddt.toFixed(1) }),
      element("td", { class: "mono", textContent: record.secondary_structure }),
      element("td", { textContent: [record.status === "ok" ? "" : record.status, record.message].filter(Boolean).join(": ") }));
  }
}

export function numberOf(id) {
  const text = document.getElementById(id).value.trim();
  return text === "" ? null : Number(text);
}

function words(batch) {
  const failed = batch.failed ? `, ${batch.failed} of them failed` : "";
  const state = { running: "Folding", done: "Done", stopped: "Stopped", failed: "Failed" }[batch.state];
  return `${state}: ${batch.done} of ${batch.total} records${failed}${batch.message ? `. ${batch.message}` : ""}`;
}
