"""Completion: what is offered, in the words of each shell, quickly; and a real bash that asks for it."""

import json
import os
import pty
import shutil
import subprocess
import sys

import click
import pytest
from cli_helpers import HEAVY, commands, read_terminal

from betafold_mlx.cli.main import main
from betafold_mlx.fold import registry as zoo
from betafold_mlx.lab.runner import EXPERIMENTS

SHELLS = ("bash", "zsh", "fish")
CONTEXTS = list(commands())


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code, *capsys.readouterr()


@pytest.fixture
def complete(capsys, monkeypatch):
    """Ask as the script of a shell asks; return what it would offer: (kind, value) -> description."""

    def ask(line, shell="bash"):
        words = line.split(" ")
        monkeypatch.setenv("_BETAFOLD_MLX_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", words[-1] if shell == "fish" else str(len(words) - 1))
        code, out, err = call(capsys)
        assert (code, err) == (0, "")
        lines = [line for line in out.split("\n") if line]
        if shell == "zsh":
            return {(lines[i], lines[i + 1]): lines[i + 2] for i in range(0, len(lines), 3)}
        offered = [line.partition("\t") for line in lines]
        return {tuple(head.split(",", 1)): text for head, _, text in offered}

    return ask


def words(offered):
    return [value for kind, value in offered if kind == "plain"]


@pytest.mark.parametrize("shell", SHELLS)
def test_commands_in_the_order_of_use_with_what_they_do(complete, shell):
    offered = complete("betafold-mlx ", shell)
    assert words(offered) == [context.info_name for context in CONTEXTS if context.parent is CONTEXTS[0]]
    if shell != "bash":  # which shows no descriptions
        assert offered["plain", "train"] == "Train a folding model."
    assert words(complete("betafold-mlx con", shell)) == ["convert-esm"]
    offered = words(complete("betafold-mlx dataset ", shell))
    assert set(offered) == {"fetch", "build", "info", "entries", "templates"} and len(offered) == 5


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda context: context.command_path)
def test_options_of_every_command(complete, context):
    offered = words(complete(f"{context.command_path} --"))
    known = {
        name
        for param in context.command.get_params(context)
        if isinstance(param, click.Option)
        for name in (*param.opts, *param.secondary_opts)
        if name.startswith("--")
    }
    assert set(offered) == known


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("fold x --format ", ["cif", "pdb", "both"]),
        ("fold x --format p", ["pdb"]),
        ("fold x --format=p", ["pdb"]),
        ("fold x --output-format ", ["files", "jsonl", "parquet"]),
        ("fold x --disulfide ", ["auto"]),
        ("fold x --disulfide 3", []),
        ("fold x --batch-size au", ["auto"]),
        ("fold x --n-cap ", ["ace", "for", "myr", "clac", "none"]),
        ("fold x --device ", ["gpu", "cpu"]),
        ("fold x --samples ", []),
        ("train d --embedder r", ["residue"]),
        ("train d --trunk t", ["transformer"]),
        ("lab ", [*EXPERIMENTS, "all"]),
        ("lab depth --budget ", ["quick", "normal", "long"]),
        ("convert-esm --dtype ", ["float32", "float16"]),
        ("evaluate x --split ", ["validation", "test"]),
        ("completion ", ["bash", "zsh", "fish"]),
        ("no-such-command ", []),
    ],
)
def test_values(complete, line, offered):
    if line.startswith("no-such"):  # nothing is known of it
        offered = words(complete("betafold-mlx "))
    assert words(complete(f"betafold-mlx {line}")) == offered


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("fold pep", "file"),
        ("perplexity pep", "file"),
        ("dataset build a b", "file"),
        ("dataset fetch --ids ", "file"),
        ("evaluate --references ", "file"),
        ("evaluate --predictions ", "dir"),
        ("fold x -o ", "dir"),
        ("fold x --model run", "dir"),
        ("train ", "dir"),
        ("train d --cache ", "dir"),
        ("viewer install --from ", "file"),
    ],
)
def test_paths(complete, line, kind):
    assert (kind, line.split(" ")[-1]) in complete(f"betafold-mlx {line}")


@pytest.mark.parametrize(
    "command", ["fold x --model ", "serve --model ", "lab toy --model ", "evaluate d --beside "]
)
def test_installed_models_are_offered_behind_folders(complete, monkeypatch, tmp_path, command):
    """Not what else lies there: a converted ESM-2, something damaged, what is being written."""
    for name, text in {
        "mine": '{"model_type": "betafold"}',
        "betafold-mini": '{"model_type": "betafold"}',
        "esm2": '{"model_type": "esm2"}',
        "list": "[]",
        "broken": "{",
        ".mine.part": '{"model_type": "betafold"}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    monkeypatch.setattr(zoo, "_WEIGHTS", (tmp_path,))
    offered = complete(f"betafold-mlx {command}")
    assert list(offered) == [("dir", ""), ("plain", "betafold-mini"), ("plain", "mine")]
    assert words(complete(f"betafold-mlx {command}m")) == ["mine"]


LINES = [
    "betafold-mlx ",
    *(f"{context.command_path} --" for context in CONTEXTS),
    "betafold-mlx fold x --model ",
    "betafold-mlx train x --steps 5 --",
    "betafold-mlx fold x --samples 3 --format ",
    "betafold-mlx dataset fetch --jobs 2 --url ",
]


def test_completing_loads_no_numeric_library():
    """All that a `<TAB>` costs is Python and click: MLX, NumPy and gemmi are never loaded, whatever is completed."""
    program = (
        "import json, os, sys\nfrom betafold_mlx.cli.main import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    words = line.split(' ')\n"
        "    os.environ.update(COMP_WORDS=line, COMP_CWORD=str(len(words) - 1))\n"
        "    try: main([])\n    except SystemExit as end: assert not end.code\n"
        f"    loaded = set({HEAVY!r}) & set(sys.modules)\n    assert not loaded, (line, loaded)\n"
    )
    environment = {**os.environ, "_BETAFOLD_MLX_COMPLETE": "bash_complete"}
    command = [sys.executable, "-c", program, json.dumps(LINES)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("plain,--help\n") == len(CONTEXTS) + 1


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_whole_and_of_this_program(capsys, shell, tmp_path):
    code, out, _ = call(capsys, "completion", shell)
    assert code == 0 and "betafold-mlx" in out and f"_BETAFOLD_MLX_COMPLETE={shell}_complete" in out
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"needs {shell} to read it")
    (tmp_path / "script").write_text(out)
    subprocess.run([program, "-n", tmp_path / "script"], check=True)


@pytest.fixture
def bash(tmp_path):
    """An interactive bash in a folder of its own that has read the script; answers the line that a `<TAB>` made."""
    program = shutil.which("bash")
    if program is None:
        pytest.skip("needs bash")
    if subprocess.run([program, "-c", "((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404))"]).returncode:
        pytest.skip("needs bash 4.4")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "betafold-mlx").write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -m betafold_mlx "$@"\n'
    )
    (tmp_path / "bin" / "betafold-mlx").chmod(0o755)
    work = tmp_path / "work"
    (work / "peptides").mkdir(parents=True)
    (work / "library of mine.fasta").write_text("")
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [program, "--norc", "--noprofile", "-i"],
        cwd=work,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "TERM": "dumb", "PS1": "$ "},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)

    def send(text):
        os.write(main, text.encode())

    send("bind 'set enable-bracketed-paste off'; source <(betafold-mlx completion bash)\n")

    def answer(typed):
        # What was completed is then printed word by word: back to the start of the line, and a printf before it.
        send(f"{typed}\t")
        send("\x01printf '<%s>' \x05; echo; echo END''OF\n")
        text = ""
        while "ENDOF" not in text:
            more = read_terminal(main, lambda: True, 60)
            assert process.poll() is None, text
            text += more
        return text.split("ENDOF")[0].splitlines()[-1]

    yield answer
    process.kill()
    process.wait()
    os.close(main)


def test_a_real_bash(bash):
    assert bash("betafold-mlx conv") == "<betafold-mlx><convert-esm>"
    assert bash("betafold-mlx fold --dis") == "<betafold-mlx><fold><--disulfide>"
    assert bash("betafold-mlx fold lib") == "<betafold-mlx><fold><library of mine.fasta>"
    assert bash("betafold-mlx fold x --model betafold-m") == "<betafold-mlx><fold><x><--model><betafold-mini>"
    assert bash("betafold-mlx fold x -o pep") == "<betafold-mlx><fold><x><-o><peptides/>"
    assert bash("betafold-mlx train pep") == "<betafold-mlx><train><peptides/>"
    assert bash("betafold-mlx lab atten") == "<betafold-mlx><lab><attention>"
