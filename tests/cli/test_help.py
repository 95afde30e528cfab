"""Help pages: every option is explained, examples work, and nothing heavy is loaded for them."""

import gzip
import re
import shlex
import subprocess
import sys

import click
import pytest
from cli_helpers import HEAVY, commands, leaves, run

from betafold_mlx import Predictor
from betafold_mlx.cli import fold as fold_module

CONTEXTS = list(commands())
PATHS = [context.command_path for context in CONTEXTS]
EXAMPLES = [
    (context.command_path, line)
    for context in CONTEXTS
    for line in (context.command.epilog or "").split("\n\n")
    if line.startswith("betafold-mlx ")
]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.setenv("COLUMNS", "130")

    def read(path, option="--help"):
        code, out, err = run(*path.split()[1:], option)
        assert (code, err) == (0, "")
        return out

    return read


@pytest.mark.parametrize("path", PATHS)
def test_a_page_explains_all_options_and_names_no_other(page, path):
    known = {
        name
        for context in CONTEXTS
        for param in context.command.get_params(context)
        for name in (*param.opts, *param.secondary_opts)
    }
    text = page(path)
    assert page(path, "-h") == text and text.startswith(f"Usage: {path} ")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))
    assert named <= known | {"--backend"}  # of mlx.launch
    context = CONTEXTS[PATHS.index(path)]
    for param in context.command.get_params(context):
        if isinstance(param, click.Option):
            assert param.help.endswith(".") and set(param.opts) - {"-o", "-h"} <= named, param.name


def test_the_commands_stand_in_the_order_of_use(page):
    text = page("betafold-mlx")
    listed = [context.info_name for context in CONTEXTS if context.parent is CONTEXTS[0]]
    places = [re.search(rf"^  {name} +[A-Z]", text, re.MULTILINE).start() for name in listed]
    assert places == sorted(places) and len(places) == 17


def test_defaults_come_from_the_settings(page):
    from betafold_mlx.generate.generator_config import GeneratorTrainConfig
    from betafold_mlx.train.training_config import TrainConfig

    for command, config in (("train", TrainConfig()), ("train-generator", GeneratorTrainConfig())):
        text = " ".join(page(f"betafold-mlx {command}").split())
        assert f"Optimiser steps, at most. [range: x>=1] [default: {config.steps}]" in text
        assert f"[range: x>0] [default: {config.learning_rate}]" in text


def test_numbers_in_the_text_are_those_of_the_modules(page):
    from betafold_mlx.data.sampling import DEFAULT_WINDOWS, MIN_WINDOWS
    from betafold_mlx.data.store import MAX_PEPTIDE, MIN_PEPTIDE
    from betafold_mlx.peptide.sequence import MAX_LENGTH, MIN_LENGTH, TRAINED_LENGTHS
    from betafold_mlx.report.threedmol import PACKAGE

    def text(path):
        return " ".join(page(path).split())

    lengths = f"{MIN_LENGTH} to {MAX_LENGTH} residues; the bundled model was trained on"
    assert f"{lengths} {TRAINED_LENGTHS[0]} to {TRAINED_LENGTHS[1]}." in text("betafold-mlx fold")
    assert TRAINED_LENGTHS[1] - TRAINED_LENGTHS[0] + 1 == MIN_WINDOWS
    assert f"FASTA file of {MIN_PEPTIDE} to {MAX_PEPTIDE} residues each" in text("betafold-mlx distill")
    assert PACKAGE in text("betafold-mlx viewer install")
    for command in ("embed", "train"):
        assert f"{DEFAULT_WINDOWS:,}" in text(f"betafold-mlx {command}")


@pytest.mark.parametrize("context", leaves(), ids=lambda context: context.command_path)
def test_wrong_usage_is_one_line_with_the_way_to_the_help(context):
    path = context.command_path.split()
    code, out, err = run(*path[1:], "--no-such-option")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("betafold-mlx: ") and err.endswith(f"(see '{context.command_path} --help')\n")


def test_a_near_miss_is_named():
    assert "No such command 'flod'. Did you mean 'fold'?" in run("flod")[2]
    assert "Did you mean" not in run("xyzzy")[2]


@pytest.mark.parametrize(("path", "example"), EXAMPLES)
def test_an_example_is_understood(monkeypatch, tmp_path, path, example):
    """The command is found and takes every word of it; its work is left out."""
    monkeypatch.chdir(tmp_path)
    for folder in ("datasets/mine", "weights/esm2_t6_8M_UR50D"):
        (tmp_path / folder).mkdir(parents=True)
    called = []

    def invoke(self, context):
        if not isinstance(self, click.Group):
            called.append((context.command_path, dict(context.params)))

    monkeypatch.setattr(click.Command, "invoke", invoke)
    words = shlex.split(example.partition(" >")[0])
    code, out, err = run(*words[1:])
    assert (code, err) == (0, "")
    if "--help" in words:
        assert out.startswith(f"Usage: {' '.join(words[:-1])} ")
    else:
        ((command, params),) = called
        assert " ".join(words).startswith(command)
        given = {word for word in words if re.match(r"--?[a-z]", word)}
        assert len([value for value in params.values() if value not in (None, False, ())]) >= len(given)


@pytest.fixture(scope="module")
def bundled():
    return Predictor.load("betafold-mini")


@pytest.mark.parametrize("example", [line for path, line in EXAMPLES if path.endswith(" fold")])
def test_the_examples_of_fold_fold(monkeypatch, tmp_path, bundled, example):
    if "parquet" in example:
        pytest.importorskip("pyarrow", reason="needs pyarrow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETAFOLD_VIEWER", str(tmp_path / "none"))
    monkeypatch.setattr(fold_module, "_load", lambda *_: bundled)
    fasta = ">a\nGIGKFLHSAKKFGKAFVGEIMNS\n>b cyclic disulfides=3-11\nGRCTKSIPPICFPD\n"
    (tmp_path / "peptides.fasta").write_text(fasta)
    (tmp_path / "library.fasta.gz").write_bytes(gzip.compress(fasta.encode()))
    before = set(tmp_path.rglob("*"))
    code, out, _ = run(*shlex.split(example)[1:])
    assert code == 0 and out
    assert set(tmp_path.rglob("*")) - before


def test_help_loads_no_numeric_library():
    program = (
        "import sys\nfrom betafold_mlx.cli.main import main\n"
        "for arguments in ['', 'fold', 'train', 'generate', 'lab', 'dataset build']:\n"
        "    try: main([*arguments.split(), '--help'])\n    except SystemExit as end: assert not end.code\n"
        f"loaded = set({HEAVY!r}) & set(sys.modules)\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_colours_where_nobody_wants_them(tmp_path):
    from cli_helpers import on_terminal

    program = ["-m", "betafold_mlx", "fold", "--help"]
    assert "\x1b[1" in on_terminal(program, tmp_path)[1]
    code, text = on_terminal(program, tmp_path, NO_COLOR="1")
    assert code == 0 and "\x1b[3" not in text and "--disulfide" in text
