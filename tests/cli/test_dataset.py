import dataclasses
import json

import pytest
from cli_helpers import error_line, run_process
from click.testing import CliRunner
from data_helpers import entry_names, random_backbones, write
from structure_helpers import ideal, pdb, rows

from betafold_mlx.cli.dataset import dataset as command
from betafold_mlx.data.build import build_dataset
from betafold_mlx.data.store import ARRAYS_FILE, DATASET_FILE, Dataset, dataset_sha256
from betafold_mlx.errors import BetafoldError
from betafold_mlx.structure.entry import read_entry_list


def run(*arguments):
    """Return (exit code, stdout, stderr); an expected error is raised."""
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write(tmp_path_factory.mktemp("source") / "records.jsonl", random_backbones(peptides=12, chains=8))


@pytest.fixture
def built(source, tmp_path):
    assert run("build", source, "-o", tmp_path / "ds")[0] == 0
    return tmp_path / "ds"


def test_build_writes_the_data_set_and_its_report(source, built, tmp_path):
    code, out, err = run("build", source, "-o", tmp_path / "new" / "folder", "--seed", 3)
    folder = tmp_path / "new" / "folder"
    assert (code, out) == (0, f"{folder}\n")
    assert "read records.jsonl: 20 records" in err and "kept 20 chains; left out: nothing" in err
    assert (folder / "report.txt").read_text() in err
    assert Dataset.load(folder).records == build_dataset([source], 3)[0].records
    assert (folder / ARRAYS_FILE).read_bytes() == (built / ARRAYS_FILE).read_bytes()
    assert (folder / DATASET_FILE).read_bytes() != (built / DATASET_FILE).read_bytes()


def test_an_older_data_set_is_replaced_only_with_force(source, built):
    before = dataset_sha256(built)
    with pytest.raises(BetafoldError, match="replace it with --force"):
        run("build", source, "-o", built, "--seed", 5)
    assert dataset_sha256(built) == before
    assert run("build", source, "-o", built, "--seed", 5, "--force")[0] == 0
    assert dataset_sha256(built) != before and Dataset.load(built).report["seed"] == 5
    (built / DATASET_FILE).write_bytes((built / DATASET_FILE).read_bytes()[:300])  # damaged: still ours
    assert run("build", source, "-o", built, "--force")[0] == 0
    assert Dataset.load(built).report["seed"] == 0


def test_anything_else_is_never_replaced(source, tmp_path):
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1").write_text("words")
    (tmp_path / "file").write_text("words")
    for force in ([], ["--force"]):
        with pytest.raises(BetafoldError, match="is not a data set: choose another folder"):
            run("build", source, "-o", folder, *force)
        code, _, err = run("build", source, "-o", tmp_path / "file", *force)
        assert code == 2 and "Directory" in err
    assert (folder / "chapter1").read_text() == (tmp_path / "file").read_text() == "words"
    (tmp_path / "empty").mkdir()
    assert run("build", source, "-o", tmp_path / "empty")[0] == 0


def test_an_output_that_cannot_be_written_is_refused_at_once(source, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("words")
    for target in (tmp_path / "file" / "ds", "/proc/nowhere/ds"):
        with pytest.raises(BetafoldError, match="cannot write"):
            run("build", source, "-o", target)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BetafoldError, match="name a new folder"):
        run("build", source, "-o", ".")


def test_what_cannot_be_read_is_one_line_each_and_the_rest_is_done(source, tmp_path):
    sequence = "ACDEFGHIKLMNPQ"
    (tmp_path / "good.pdb").write_text(pdb(rows(sequence, ideal(sequence))))
    (tmp_path / "binary.pdb").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "broken.jsonl").write_text('{"id": "a", "seq": "AC"\n')
    (tmp_path / "truncated.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00")
    (tmp_path / "empty").mkdir()
    sources = [source, *(tmp_path / n for n in ("good.pdb", "binary.pdb", "broken.jsonl"))]
    sources += [tmp_path / n for n in ("truncated.jsonl.gz", "empty", "nowhere.cif")]
    code, out, err = run("build", *sources, "-o", tmp_path / "ds")
    assert (code, out) == (1, f"{tmp_path / 'ds'}\n")
    failed = [
        line for line in err.splitlines() if line.startswith("betafold-mlx: ") and str(tmp_path) in line
    ]
    for name in ("binary.pdb", "truncated.jsonl.gz", "empty", "nowhere.cif"):
        assert sum(name in line for line in failed) == 1, name
    assert len(failed) == 4 and "Traceback" not in err
    assert "1 bad records" in err and "4 cannot be read" in err
    loaded = Dataset.load(tmp_path / "ds")
    assert len(loaded.records) == 21 and loaded.records[-1].id == "good_A"
    assert loaded.report["dropped_records"][0][:2] == ["broken.jsonl: line 1", "bad records"]


def test_nothing_usable_is_one_clear_line(tmp_path):
    (tmp_path / "short.pdb").write_text(pdb(rows("ACDEF", ideal("ACDEF"))))
    (tmp_path / "empty.jsonl").write_text("")
    for name, reason in (
        ("short.pdb", r"short_A: 5 of 8 residues"), ("empty.jsonl", "they hold no chain"), ("no", "no such file")
    ):  # fmt: skip
        with pytest.raises(BetafoldError, match=f"no usable chain in the sources: .*{reason}") as error:
            run("build", tmp_path / name, "-o", tmp_path / "ds")
        assert "\n" not in str(error.value) and not (tmp_path / "ds").exists()


def test_a_folder_is_searched_and_a_file_named_twice_is_read_once(source, tmp_path):
    folder = tmp_path / "sources"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "records.jsonl").write_bytes(source.read_bytes())
    (folder / "sources.json").write_text("[]")  # not for us
    sequence = "ACDEFGHIKLMNPQ"
    (folder / "x.pdb").write_text(pdb(rows(sequence, ideal(sequence))))
    code, _, err = run("build", folder, folder / "x.pdb", "-o", tmp_path / "ds")
    assert code == 0 and "read 21 chains from 2 files" in err
    assert [s["name"] for s in Dataset.load(tmp_path / "ds").sources] == ["records.jsonl", "x.pdb"]


def test_an_empty_split_is_a_warning(tmp_path):
    sequence = "ACDEFGHIKLMNPQ"
    (tmp_path / "x.pdb").write_text(pdb(rows(sequence, ideal(sequence))))
    code, _, err = run("build", tmp_path / "x.pdb", "-o", tmp_path / "ds")
    assert code == 0
    for split in ("validation", "test"):
        assert f"betafold-mlx: warning: the {split} split is empty" in err


def test_info(built):
    code, out, _ = run("info", built)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{built}  sha256 {dataset_sha256(built)}"
    assert lines[1].startswith("source records.jsonl  sha256 ")
    assert out.endswith((built / "report.txt").read_text())
    loaded = Dataset.load(built)
    table = {words[0]: words[1:7] for words in map(str.split, lines) if len(words) > 6 and words[1].isdigit()}
    for split in ("train", "validation", "test"):
        assert table[split][0] == str(len(loaded.peptides(split)))
        assert table[split][2] == str(len(loaded.chains(split)))
        assert table[split][5] == str(sum(f.split == split for f in loaded.fragments))


def test_info_as_json(built):
    code, out, _ = run("info", built, "--json")
    document = json.loads(out)
    assert code == 0 and document["sha256"] == dataset_sha256(built)
    assert document["splits"] == Dataset.load(built).report["splits"]
    assert document["sources"][0]["name"] == "records.jsonl"


def test_entries_are_listed_and_their_splits_kept(tmp_path):
    records = [
        dataclasses.replace(record, pdb=entry)
        for record, entry in zip(random_backbones(peptides=12, chains=8), entry_names(20), strict=True)
    ]
    source = write(tmp_path / "records.jsonl", records)
    assert run("build", source, "-o", tmp_path / "ds")[0] == 0
    left = tmp_path / "lists" / "of mine" / ".splits.999999999-0123abcd.txt"  # by a killed run
    left.parent.mkdir(parents=True)
    left.touch()
    code, out, _ = run("entries", tmp_path / "ds", "-o", left.parent)
    assert not left.exists()
    lists = [tmp_path / "lists" / "of mine" / name for name in ("pdb_ids.txt", "splits.txt")]
    assert (code, out.splitlines()) == (0, list(map(str, lists)))
    assert read_entry_list(lists[0].read_text().splitlines()) == (entry_names(20), [])

    def splits(folder):
        return {record.id: record.split for record in Dataset.load(folder).records}

    digest = dataset_sha256(tmp_path / "ds")
    code, _, err = run("build", source, "-o", tmp_path / "kept", "--seed", 1, "--splits", lists[1])
    assert code == 0 and f"splits kept from the data set {digest}" in err
    assert splits(tmp_path / "kept") == splits(tmp_path / "ds")
    assert f"splits kept from the data set {digest}" in run("info", tmp_path / "kept")[1]
    run("build", source, "-o", tmp_path / "other", "--seed", 1)
    assert splits(tmp_path / "other") != splits(tmp_path / "ds")
    with pytest.raises(BetafoldError, match="is not a list of splits"):
        run("build", source, "-o", tmp_path / "no", "--splits", lists[0])


def test_info_of_something_else(tmp_path, built):
    with pytest.raises(BetafoldError, match="there is no data set"):
        run("info", tmp_path)
    (built / ARRAYS_FILE).write_bytes(b"")
    with pytest.raises(BetafoldError, match="damaged data set"):
        run("info", built)


@pytest.mark.parametrize(
    "arguments",
    [["build", "-o", "ds"], ["build", "x.pdb"], ["info"], ["build", "x", "-o", "y", "--seed", "-1"]],
)
def test_wrong_usage(arguments):
    assert run(*arguments)[0] == 2


def test_the_command_of_the_package(source, tmp_path):
    """The real process: progress on stderr, the result on stdout, errors in one line, exit codes."""
    code, out, err = run_process("dataset", "build", source, "-o", tmp_path / "ds")
    assert (code, out) == (0, f"{tmp_path / 'ds'}\n") and "kept 20 chains" in err
    code, out, err = run_process("dataset", "build", source, "-o", tmp_path / "ds")
    assert (code, out) == (1, "") and "--force" in error_line(err)
