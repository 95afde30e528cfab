"""`betafold-mlx perplexity` as a user calls it."""

import json

import cli_helpers
import numpy as np
import pytest
from cli_helpers import error_line
from esm_helpers import TINY

from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.scores import predict_contacts, score_sequence

MAGAININ = "GIGKFLHSAKKFGKAFVGEIMNS"


@pytest.fixture(scope="module")
def esm(tmp_path_factory):
    return convert(read_checkpoint(TINY), tmp_path_factory.mktemp("esm") / "tiny", "owner/tiny").esm


@pytest.fixture
def run(tmp_path, esm):
    def call(*arguments, embedder=None, stdin=None):
        arguments = ("perplexity", *arguments, "--embedder", embedder or esm.path)
        if stdin is None:
            return cli_helpers.run(*arguments, cwd=tmp_path)
        return cli_helpers.run_process(*arguments, cwd=tmp_path, input=stdin)

    return call


def test_a_table(run, esm, tmp_path):
    code, out, err = run(MAGAININ.lower())
    score = score_sequence(esm.model, MAGAININ)
    lines = out.splitlines()
    assert (code, err) == (0, "") and len(lines) == 27 and list(tmp_path.iterdir()) == []
    assert lines[0] == "owner/tiny (2x24, not checked against the published ESM-2 weights)"
    assert lines[1] == f"{MAGAININ}  23 residues  pseudo-perplexity {score.perplexity:.2f}"
    assert lines[3].split()[:3] == ["1", "G", f"{score.log_probabilities[0]:.2f}"]
    assert [line.split()[4] for line in lines[3:26]] == list(score.most_likely)


def test_a_json_document(run, esm):
    code, out, err = run(MAGAININ, "--json", "--contacts")
    document = json.loads(out)
    (result,) = document["results"]
    score = score_sequence(esm.model, MAGAININ)
    assert (code, err, document["errors"]) == (0, "", [])
    assert document["embedder"] == esm.to_dict() and document["embedder"]["published"] is False
    assert result["id"] == result["sequence"] == MAGAININ
    assert result["perplexity"] == pytest.approx(score.perplexity)
    assert np.exp(-result["mean_log_probability"]) == pytest.approx(score.perplexity)
    np.testing.assert_allclose(result["log_probabilities"], score.log_probabilities, atol=1e-5)
    np.testing.assert_allclose(result["alternatives"]["log_probabilities"], score.alternatives, atol=1e-5)
    np.testing.assert_allclose(result["contacts"], predict_contacts(esm.model, MAGAININ), atol=1e-5)
    assert result["most_likely"] == score.most_likely
    assert "contacts" not in json.loads(run("M", "--json")[1])["results"][0]


def test_contacts_in_the_table(run, esm):
    _, out, _ = run(MAGAININ, "--contacts")
    rows = [line.split() for line in out.splitlines()[27:-1]]
    contacts = predict_contacts(esm.model, MAGAININ)
    assert len(rows) == 23 and "at least 6 apart" in out
    shown = [float(row[2]) for row in rows]
    far = sorted((contacts[i, j] for i in range(23) for j in range(i + 6, 23)), reverse=True)
    assert shown == sorted(shown, reverse=True) == pytest.approx(far[:23], abs=1e-3)
    (i, j) = (int(name[1:]) for name in rows[0][:2])
    assert [MAGAININ[i - 1], MAGAININ[j - 1]] == [rows[0][0][0], rows[0][1][0]]
    assert contacts[i - 1, j - 1] == pytest.approx(shown[0], abs=1e-3)
    assert "no two residues are 6 apart" in run("GIGKFL", "--contacts")[1]


def test_fasta_goes_on_after_a_bad_record(run, tmp_path):
    (tmp_path / "in.fasta").write_text(">a\nGIGK\nFLH\n>b\nGIJ\n>\nMX\n>c\n")
    code, out, err = run("in.fasta", "--json")
    document = json.loads(out)
    assert code == 1
    assert [(r["id"], r["sequence"]) for r in document["results"]] == [("a", "GIGKFLH"), ("MX", "MX")]
    assert [error["id"] for error in document["errors"]] == ["b", "c"]
    assert "b: 'J' at position 3" in err and "c: the sequence is empty" in err
    code, out, _ = run("-", stdin=">\x1b[31mred\nGIGKFLH\n")
    assert code == 0 and "\n?[31mred  7 residues" in out  # what would steer the terminal does not reach it


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["GIJ"], 2, "'J' at position 3"),
        ([""], 2, "empty"),
        (["A" * 1023], 2, "1023 residues"),
        (["missing.fasta"], 2, "no FASTA file"),
    ],
)
def test_wrong_usage(run, arguments, code, message):
    got, out, err = run(*arguments)
    assert (got, out) == (code, "") and message in error_line(err)


@pytest.mark.parametrize("content", [b"", bytes(range(256)), b"\x1f\x8b\x08"])
def test_what_is_no_fasta(run, tmp_path, content):
    (tmp_path / "in.fasta").write_bytes(content)
    code, _, err = run("in.fasta")
    assert code == 1 and error_line(err)


def test_an_embedder_that_is_none(run, tmp_path):
    code, out, err = run("GIG", embedder=tmp_path)
    assert (code, out) == (1, "") and "make one with convert-esm" in error_line(err)
    code, out, err = run("GIG", embedder=TINY)
    assert (code, out) == (1, "") and "convert-esm --from" in error_line(err)
