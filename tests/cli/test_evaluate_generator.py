"""``evaluate-generator``: the table, the document and the page, on a small data set of known shapes."""

import contextlib
import functools
import importlib.util
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import cli_helpers
import pytest
from generate_fakes import GENERATOR, draw
from synthetic import make_dataset

from betafold_mlx.cli import evaluate_generator as module
from betafold_mlx.cli.main import main
from betafold_mlx.data.store import Dataset, dataset_sha256
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.generate import assessment
from betafold_mlx.generate.assessment_report import report_text

ROOT = Path(__file__).resolve().parents[2]


call = functools.partial(cli_helpers.run, "evaluate-generator")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data") / "set"
    make_dataset(chains=10, peptides=4).save(directory)
    return directory


@pytest.fixture(scope="module")
def measured(dataset, tmp_path_factory):
    """What one run of the command leaves: its document, its messages and its page."""
    page = tmp_path_factory.mktemp("page") / "report.html"
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assessment, "sample_traces", draw)
        patch.setattr(assessment, "LIBRARY", 20)
        patch.setattr(module, "load_named_generator", lambda model: GENERATOR)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            arguments = [str(dataset), "--num", "12", "--split", "validation", "--json", "-o", str(page)]
            main(["evaluate-generator", *arguments])
    assert not ended.value.code, err.getvalue()
    return json.loads(out.getvalue()), err.getvalue(), page


@pytest.mark.slow
def test_the_document_has_all_methods_and_prompts(measured, dataset):
    report, err, _ = measured
    assert "measured: fragment copy" in err
    assert report["samples"] == 12 and report["split"] == "validation"
    assert report["dataset"]["sha256"] == dataset_sha256(dataset) and report["model"]["name"] == "fake-par"
    assert report["notes"] == [
        "fake-par does not say what it was trained on: it may have seen the held-out structures"
    ]
    methods = report["methods"]
    assert list(methods) == ["model", "random coil", "fragment copy", "held out"]
    # The known generator draws helices, but for one sample that is torn and one that is no number.
    assert methods["model"]["backbone"]["valid"]["value"] == pytest.approx(10 / 12, abs=1e-3)
    assert methods["model"]["backbone"]["bonds_ok"]["value"] == pytest.approx(11 / 12, abs=1e-3)
    assert methods["model"]["trace"]["valid"]["value"] == pytest.approx(10 / 12, abs=1e-3)
    assert methods["model"]["secondary_structure"]["helix"]["value"] > 0.6
    assert methods["held out"]["trace"]["bonds_ok"]["value"] > 0.99
    assert methods["fragment copy"]["backbone"]["fit_rmsd_median"] < 0.3
    # Real shapes are nearer to the training windows than coils are, as a whole.
    assert methods["fragment copy"]["distance_divergence"] < methods["random coil"]["distance_divergence"]
    prompts = report["prompts"]
    assert list(prompts) == ["shape", "motif", "ring", "helix", "strand"]
    assert prompts["ring"]["methods"]["model"]["value"] > 0.9  # those traces are rings
    assert prompts["ring"]["methods"]["model, not asked"]["value"] == 0  # and those are helices
    assert (
        prompts["helix"]["methods"]["model"]["value"]
        > 0.6
        > prompts["strand"]["methods"]["model, not asked"]["value"]
    )
    assert prompts["strand"]["methods"]["model"]["value"] > 0.6
    assert "random coil" not in prompts["motif"]["methods"]
    assert report["speed"]["fit_per_second"] > 0


def test_lengths_are_those_of_open_chains_held_out(dataset):
    data = Dataset.load(dataset)
    items = assessment.held_out_chains(data, "test", 1000)
    assert items and not any(item.peptide.cyclic for item in items)
    expected = [item.id for item in split_items(data, "test") if not item.peptide.cyclic]
    assert [item.id for item in items] == expected
    some = assessment.held_out_chains(data, "test", 5)
    assert len({item.id for item in some}) == 5 and some[0].id == items[0].id


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []

    def handle_data(self, data):
        self.words.append(data)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append(dict(attributes))


@pytest.mark.slow
def test_the_table_says_what_the_document_does(measured):
    report, _, _ = measured
    text = report_text(report)
    header = re.split(r"  +", text.splitlines()[2])
    assert header[1:] == ["model", "random coil", "fragment copy", "held out"]
    assert re.search(r"^backbone: bonds whole +92 %", text, re.MULTILINE)
    share = report["methods"]["model"]["secondary_structure"]["helix"]["value"]
    assert re.search(rf"^helix +{100 * share:.0f} %", text, re.MULTILINE)


@pytest.mark.slow
def test_the_page_shows_the_samples_and_loads_nothing(measured):
    _, err, page = measured
    assert f"wrote {page}" in err
    parsed = Page()
    parsed.feed(page.read_text())
    assert "script" not in parsed.tags
    assert not any("src" in each or "href" in each for each in parsed.attributes)
    (policy,) = [each["content"] for each in parsed.attributes if "http-equiv" in each]
    assert policy.startswith("default-src 'none'; ") and "script-src" not in policy
    words = " ".join(parsed.words)
    assert "--num 12" in words and "carry no sequence" in words and "clusters (2 A) a sample" in words
    labels = [each.get("aria-label", "") for each in parsed.attributes]
    pictures = [label for label in labels if label.startswith("C-alpha trace of")]
    assert len(pictures) == 10  # of twelve, one is torn and one is no number
    assert sum(label.startswith("Ramachandran plot of") for label in labels) == 1
    assert parsed.tags.count("circle") > 50


@pytest.mark.slow
def test_figures_are_written_between_their_marks(measured, tmp_path):
    report, _, _ = measured
    spec = importlib.util.spec_from_file_location("write", ROOT / "scripts" / "_write_generator_figures.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    document, page = tmp_path / "test.json", tmp_path / "generate.md"
    document.write_text(json.dumps(report))
    kept = (ROOT / "docs" / "generate.md").read_text()
    page.write_text(kept)
    script.main([str(document), str(page)])
    written = page.read_text()
    for name in script.SECTIONS:
        assert f"<!-- {name} -->" in kept and f"<!-- /{name} -->" in kept
    helix = report["methods"]["model"]["secondary_structure"]["helix"]["value"]
    assert f"| helix | {100 * helix:.0f} %" in written and "No figures yet" not in written
    assert "--split validation --num 12" in written and "| motif: share with the motif of 8" in written
    script.main([str(document), str(page)])
    assert page.read_text() == written
    outside = re.compile(r"<!-- (generator\S*) -->.*?<!-- /\1 -->", re.DOTALL)
    assert outside.sub("", written) == outside.sub("", kept)


def test_a_page_that_cannot_be_written_is_found_before_the_work(monkeypatch, dataset, tmp_path):
    monkeypatch.setattr(module, "load_named_generator", lambda model: GENERATOR)
    monkeypatch.setattr(assessment, "sample_traces", None)  # not reached
    (tmp_path / "file").write_text("")
    for page, said in ((tmp_path, "is a directory"), (tmp_path / "file" / "a.html", "cannot write into")):
        code, out, err = call(dataset, "--split", "validation", "-o", page)
        assert code and not out and err.count("\n") == 1 and said in err


def test_what_cannot_be_measured_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "load_named_generator", lambda model: GENERATOR)
    code, out, err = call(tmp_path / "none")
    assert (code, out, err.count("\n")) == (1, "", 1) and "no data set at" in err
    make_dataset(chains=4, peptides=2, held_out=0).save(tmp_path / "train")
    code, out, err = call(tmp_path / "train")
    assert (code, out, err.count("\n")) == (
        1,
        "",
        1,
    ) and "no open chains of 8 to 32 residues in its test split" in err
