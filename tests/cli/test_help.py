"""Help pages: they fit a terminal, their examples work, and what they say is so."""

import dataclasses
import gzip
import re
import shlex
import subprocess
import sys

import click
import pytest
from cli_helpers import HEAVY, commands, leaves

from betafold_mlx import Predictor
from betafold_mlx.cli import fold as fold_module
from betafold_mlx.cli.help import broken
from betafold_mlx.cli.main import main

CONTEXTS = list(commands())
PATHS = [context.command_path for context in CONTEXTS]
EXAMPLES = [(context.command_path, example) for context in CONTEXTS for example in context.command.examples]


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code, *capsys.readouterr()


def default_of(param, context):
    value = param.get_default(context)
    return value if isinstance(value, (bool, float, int, str)) else None


@pytest.fixture
def page(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def read(path, option="--help"):
        code, out, err = call(capsys, *path.split()[1:], option)
        assert (code, err) == (0, "")
        return out

    return read


@pytest.mark.parametrize("path", PATHS)
def test_a_page_fits_80_columns_and_h_shows_it_too(page, path):
    text = page(path)
    for line in text.splitlines():
        assert len(line) <= 80 or "https://" in line, line
    assert page(path, "-h") == text and not text.startswith("Usage: cli")


def test_the_commands_stand_in_the_order_of_use(page):
    text = page("betafold-mlx")
    headings = re.findall(r"^(\S.*):$", text, flags=re.MULTILINE)
    assert headings[:2] == ["Examples", "Options"] and headings[2] == "Fold"
    order = [text.index(f"\n  {name} ") for name in ("fold", "dataset", "train", "evaluate", "embed", "lab")]
    assert order == sorted(order)
    listed = re.findall(r"^  ([a-z][a-z-]+) +[A-Z]", text, flags=re.MULTILINE)
    assert listed == [context.info_name for context in CONTEXTS if context.parent is CONTEXTS[0]]


@pytest.mark.parametrize("context", CONTEXTS, ids=PATHS)
def test_every_option_says_what_it_does_and_its_default(context):
    """Of one without a default there is nothing to show; a flag is off."""
    for param in context.command.get_params(context):
        if isinstance(param, click.Option):
            assert param.help and param.help[-1] in ".", param.name
            if not param.is_flag and not param.required and default_of(param, context) is not None:
                assert "[default: " in param.get_help_record(context)[1], param.name


def test_defaults_are_those_of_the_modules_behind():
    from betafold_mlx.data.windows import SamplerConfig
    from betafold_mlx.evaluate.methods import SAMPLES
    from betafold_mlx.train.config import TrainConfig

    shown = {
        context.command_path.removeprefix("betafold-mlx "): {
            param.name: default_of(param, context) for param in context.command.get_params(context)
        }
        for context in leaves()
    }
    assert shown["evaluate"]["samples"] == SAMPLES
    training, sampling = TrainConfig(), SamplerConfig()
    checked = 0
    for name, value in shown["train"].items():
        for settings in (training, training.network, sampling):
            if name in {field.name for field in dataclasses.fields(settings)} and name != "embedder":
                assert value == getattr(settings, name), name
                checked += 1
    assert checked >= 14


def test_numbers_and_names_in_the_text_are_those_of_the_modules(page):
    from betafold_mlx.cli.table import LONGEST
    from betafold_mlx.data.fetch import MISSING_FILE
    from betafold_mlx.data.plan import DEFAULT_WINDOWS
    from betafold_mlx.esm import convert
    from betafold_mlx.esm.sizes import DEFAULT_HUB_ID
    from betafold_mlx.lab.experiments import EXPERIMENTS
    from betafold_mlx.peptide.sequence import MAX_LENGTH, MIN_LENGTH, TRAINED_LENGTHS
    from betafold_mlx.report.viewer import PACKAGE
    from betafold_mlx.train.losses import LossWeights

    def text(path):
        return " ".join(page(path).split())

    lengths = f"{MIN_LENGTH} to {MAX_LENGTH} of the 20 standard residues; the models were trained on"
    assert f"{lengths} {TRAINED_LENGTHS[0]} to {TRAINED_LENGTHS[1]}." in text("betafold-mlx fold")
    assert MAX_LENGTH == LONGEST
    assert f"[{'|'.join(convert.DTYPES)}]" in text("betafold-mlx convert-esm")
    assert DEFAULT_HUB_ID in text("betafold-mlx convert-esm")
    assert f"{PACKAGE.name}@{PACKAGE.version}" in text("betafold-mlx viewer install")
    assert PACKAGE.archive in text("betafold-mlx viewer install")
    for command in ("embed", "train"):
        assert f"{DEFAULT_WINDOWS:,}" in text(f"betafold-mlx {command}")
    assert f"DIR/{MISSING_FILE}" in text("betafold-mlx dataset fetch")
    *names, last = (field.name for field in dataclasses.fields(LossWeights))
    assert f"{', '.join(names)} or {last}" in text("betafold-mlx train")
    for name, entry in EXPERIMENTS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.title)}$", page("betafold-mlx lab"), re.MULTILINE)
    without = " and ".join(f"`{name}`" for name, entry in EXPERIMENTS.items() if not entry.needs_data)
    assert f"All but {without} need --data" in text("betafold-mlx lab")


@pytest.mark.parametrize("context", leaves(), ids=lambda context: context.command_path)
def test_wrong_usage_is_one_line_with_the_way_to_the_help(capsys, context):
    path = context.command_path.split()
    code, out, err = call(capsys, *path[1:], "--no-such-option")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("betafold-mlx: ") and err.endswith(f"(see '{context.command_path} --help')\n")


def test_a_near_miss_is_named(capsys):
    assert "No such command 'flod'. Did you mean 'fold'?" in call(capsys, "flod")[2]
    assert "Did you mean" not in call(capsys, "xyzzy")[2]


def test_every_command_has_examples():
    assert all(context.command.examples for context in CONTEXTS if context.info_name != "viewer")


@pytest.mark.parametrize(("path", "example"), EXAMPLES)
def test_an_example_is_understood(capsys, monkeypatch, tmp_path, path, example):
    """The command is found and takes every word of it; its work is left out."""
    if not example.startswith("betafold-mlx "):
        pytest.skip("another program's")
    monkeypatch.chdir(tmp_path)
    for folder in ("datasets/mine", "weights/esm2_t6_8M_UR50D"):
        (tmp_path / folder).mkdir(parents=True)
    called = []

    def invoke(self, context):
        if not isinstance(self, click.Group):
            called.append((context.command_path, dict(context.params)))

    monkeypatch.setattr(click.Command, "invoke", invoke)
    words = shlex.split(example.partition(" >")[0])
    code, out, err = call(capsys, *words[1:])
    assert (code, err) == (0, "")
    if "--help" in words:
        assert out.startswith(f"Usage: {' '.join(words[:-1])} ")
    else:
        ((command, params),) = called
        assert " ".join(words).startswith(command)
        given = {word for word in words if re.match(r"--?[a-z]", word)}
        assert len([value for value in params.values() if value not in (None, False, ())]) >= len(given)


@pytest.mark.parametrize("width", [30, 48, 72, 200])
@pytest.mark.parametrize("example", [example for _, example in EXAMPLES])
def test_a_broken_line_is_the_same_line_for_a_shell(example, width):
    lines = broken(example, width)
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {chr(10).join(lines).partition(' >')[0]}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == shlex.split(example.partition(" >")[0])
    for line in lines:  # wider only where there is no place to break it
        assert len(line) <= width or not re.search(r" -\w| --\w", line.strip().removesuffix(" \\")[1:])


@pytest.fixture(scope="module")
def bundled():
    return Predictor.load("betafold-mini")


FOLDED = [
    example for _, example in EXAMPLES if example.startswith("betafold-mlx fold ") and "--help" not in example
]


@pytest.mark.parametrize("example", sorted(set(FOLDED)))
def test_the_examples_of_fold_fold(capsys, monkeypatch, tmp_path, bundled, example):
    if "parquet" in example:
        pytest.importorskip("pyarrow", reason="needs pyarrow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BETAFOLD_VIEWER", str(tmp_path / "none"))
    monkeypatch.setattr(fold_module, "_load", lambda *_: bundled)
    fasta = ">a\nGIGKFLHSAKKFGKAFVGEIMNS\n>b cyclic disulfides=3-11\nGRCTKSIPPICFPD\n"
    (tmp_path / "peptides.fasta").write_text(fasta)
    (tmp_path / "library.fasta.gz").write_bytes(gzip.compress(fasta.encode()))
    before = set(tmp_path.rglob("*"))
    code, out, _ = call(capsys, *shlex.split(example)[1:])
    assert code == 0 and out
    assert set(tmp_path.rglob("*")) - before


@pytest.mark.parametrize(
    "arguments",
    [("--help",), *((name, "--help") for name in ("fold", "serve", "viewer", "perplexity", "completion"))],
)
def test_help_starts_at_once(arguments):
    program = (
        "import sys\nfrom betafold_mlx.cli.main import main\n"
        f"try: main({list(arguments)!r})\nexcept SystemExit as end: assert not end.code\n"
        f"loaded = set({HEAVY!r}) & set(sys.modules)\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pages_speak_of_no_option_that_is_not_there(page):
    known = {
        name
        for context in CONTEXTS
        for param in context.command.get_params(context)
        for name in (*param.opts, *param.secondary_opts)
    }
    known |= {"--backend"}  # of mlx.launch
    for path in PATHS:
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page(path))) <= known, path
