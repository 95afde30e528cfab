"""Every command and all Python of the README and of `docs/` work, or are named here with the test that runs them.

The commands run as they stand, in a folder that looks like a checkout. What would take long or needs the network gets
the options of `SMALL` added, and a hub and an archive on this machine. A new command either works like that, or belongs
into `ELSEWHERE`.
"""

import contextlib
import gzip
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from cli_helpers import run
from data_helpers import backbone_entry, entry_names, random_letters, template
from esm_helpers import TINY
from file_server import checkpoint_files, serve
from serve_helpers import running
from structure_helpers import ideal, pdb, rows
from synthetic import backbone_of

from betafold_mlx import Predictor
from betafold_mlx.cli.main import cli
from betafold_mlx.data.known_splits import KnownSplits
from betafold_mlx.data.store import SPLITS
from betafold_mlx.templates.library import TemplateLibrary

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = "scripts/betafold-mlx"
BUNDLED = ROOT / "weights" / "betafold-mini"

ELSEWHERE = {
    "scripts/train-esm2": "train/test_esm2.py::test_the_whole_recipe_and_that_it_goes_on",
    ".venv/bin/mlx.launch": (
        "train/test_ranks.py::test_the_launcher_of_mlx_starts_two_ranks_whose_gradient_is_that_of_one"
    ),
    ".venv/bin/dask": "library/test_work.py::test_a_cluster_that_loses_a_worker_writes_the_same_bytes",
    f"{PROGRAM} fold library.fasta.gz -o library --scheduler": (
        "library/test_work.py::test_a_cluster_that_loses_a_worker_writes_the_same_bytes"
    ),
    f"{PROGRAM} train-side-chains": (
        "cli/test_train_side_chains.py::test_it_trains_a_network_of_the_model_and_goes_on"
    ),
    f"{PROGRAM} viewer install": "report/test_threedmol.py::test_npm_fetches_exactly_the_release",
    f"{PROGRAM} serve": "cli/test_serve.py::test_a_signal_ends_it_when_all_that_was_asked_is_answered",
    f"{PROGRAM} lab": "cli/test_lab.py::test_a_verdict_is_printed_and_a_page_written",
    "pip install .": "test_packaging.py::test_name_version_and_licence",
}
"""How a command begins -> the test that runs it. What follows our own program must be arguments that it takes."""

NETWORK = ["--layers", "1", "--width", "32", "--heads", "4", "--ffn-width", "64"]
SMALL = {
    "train": ["--steps", "2", "--warmup", "1", "--evaluate-every", "2", "--tokens", "192", *NETWORK],
    "train-judge": ["--batches", "1", "--steps", "2", "--warmup", "1", "--evaluate-every", "2"],
    "evaluate": ["--limit", "1", "--samples", "1"],
    "train-generator": [
        *("--steps", "2", "--warmup", "1", "--evaluate-every", "2", "--tokens", "192"),
        *("--layers", "1", "--decoder-layers", "1", "--width", "32", "--heads", "4", "--ffn-width", "64"),
    ],
    "generate": ["--num", "2", "--steps", "20"],
    "evaluate-generator": ["--num", "2", "--steps", "2"],
    "distill": ["--samples", "1", "--min-plddt", "0"],
    "embed": ["--windows", "63"],
    "perplexity": [],
}


def commands_of(text):
    """Return the commands of a document: pairs of the command and the output that stands below it.

    >>> commands_of("```console\\n$ a \\\\\\n  b  # c\\nout\\n$ d\\n```\\n")
    [('a b', 'out'), ('d', '')]
    """
    found = []
    for kind, body in re.findall(r"^```(console|bash|sh|shell)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in re.sub(r"\\\n\s*", "", body).splitlines():
            if kind != "console" or line.startswith("$ "):
                command = re.sub(r"\s+#.*", "", line.removeprefix("$ ")).strip()
                if command:
                    found.append((command, []))
            elif found:
                found[-1][1].append(line)
    return [(command, "\n".join(output)) for command, output in found]


COMMANDS = {}
for document in DOCUMENTS:
    for each, shown in commands_of(document.read_text()):
        COMMANDS[each] = shown or COMMANDS.get(each, "")


def elsewhere(command):
    return next((start for start in ELSEWHERE if f"{command} ".startswith(f"{start} ")), None)


def kind_of(command):
    if "/pip install" in command and not elsewhere(command):
        return "pip"
    if command.startswith("curl "):
        return "curl"
    return "elsewhere" if elsewhere(command) else "here"


def of_kind(kind):
    return [command for command in COMMANDS if kind_of(command) == kind]


def test_there_are_commands_in_the_documents():
    assert len(COMMANDS) > 25 and {kind_of(command) for command in COMMANDS} == {
        "pip",
        "curl",
        "elsewhere",
        "here",
    }


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder with what the documents take for granted: peptides, a library, a list of entries, structures."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "weights").mkdir()
    mini = root / "weights" / "betafold-mini"
    shutil.copytree(BUNDLED, mini)
    (root / "scripts").mkdir()
    start = root / PROGRAM
    start.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m betafold_mlx "$@"\n')
    start.chmod(0o755)
    (root / "peptides.fasta").write_text(">ring cyclic\nGRCTKSIPPICFPD\n>plain\nKLAKLAKKLAK\n")
    (root / "points.csv").write_text("x,y,z\n0,0,0\n9,0,0\n13,9,0\n9,16,0\n")
    (root / "1le0.pdb").write_text(pdb(rows("SWTWEGNKWTWK", ideal("SWTWEGNKWTWK"))))
    (root / "my-structures").mkdir()
    (root / "my-structures" / "own.pdb").write_text(pdb(rows("GCCSDPRCAWRC", ideal("GCCSDPRCAWRC"))))
    with gzip.open(root / "library.fasta.gz", "wt") as library:
        library.write("".join(f">p{n}\nKLAKLAK{'AG' * n}KLA\n" for n in range(3)))
    rng = np.random.default_rng(4)
    entries = entry_names(18)
    sequences = [[random_letters(rng, 12)] + [random_letters(rng, 45)] * (n % 2) for n in range(18)]
    files = {
        entry: backbone_entry(entry, [(each, backbone_of(each, rng)) for each in some])
        for entry, some in zip(entries, sequences, strict=True)
    }
    (root / "deposited").mkdir()
    for entry, content in files.items():
        (root / "deposited" / f"{entry}.cif.gz").write_bytes(content)
    (mini / "pdb_ids.txt").write_text("\n".join(entries))
    data = KnownSplits.read(mini / "splits.txt").dataset
    splits = {(entry, whole): SPLITS[n % 3] for n, entry in enumerate(entries) for whole in (True, False)}
    (mini / "splits.txt").write_text(KnownSplits(data, splits).text())
    hub_files = checkpoint_files("facebook/esm2_t6_8M_UR50D", TINY)
    with serve(hub_files | {f"{entry}.cif.gz": content for entry, content in files.items()}) as server:
        yield root, server


ORDER = ["convert-esm", "dataset fetch", "dataset build", "dataset", "embed", "distill", "train", "evaluate"]
"""`train-generator` begins like `train`."""


def stage(command):
    """Commands of different pages lean on one another: data come before the model that is trained on them."""
    words = " ".join(shlex.split(command)[1:3])
    return next((n for n, name in enumerate(ORDER) if words.startswith(name)), len(ORDER))


def small(command, server):
    """Return a command with what makes it small, or keeps it on this machine."""
    words = shlex.split(command.replace("STRUCTURES...", "deposited"))
    more = SMALL.get(words[1], []) if words[0] == PROGRAM else []
    if words[1:3] == ["dataset", "fetch"]:
        more = ["--url", template(server)]
    return words, more  # of an option that is given twice the last one counts


def run_here(command, root, server):
    """Run a command, the shell's own syntax in a shell: exit code, standard output and error."""
    if re.search(r"[|<>&;$~*]", re.sub(r"'[^']*'", "", command)):
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=root,
            env={**os.environ, "HOME": str(root)},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr
    words, more = small(command, server)
    assert words[0] in (PROGRAM, "betafold-mlx"), f"{command!r}: neither run here, nor in ELSEWHERE"
    return run(*words[1:], *more, cwd=root)


def masked(text):
    """What is shown may differ in its numbers, and by a letter or two of secondary structure, on another machine."""
    return re.sub(r"\s+", " ", re.sub(r"\d+\.\d+", "N", re.sub(r"\b[HEC]{10,}\b", "S", text))).strip()


@pytest.mark.slow
def test_commands_work(checkout, monkeypatch):
    root, server = checkout
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("no_proxy", "*")
    failures = []
    for command in sorted(of_kind("here"), key=stage):
        code, out, err = run_here(command, root, server)
        # Exit code 1 of `generate`: samples that failed, of a network of two steps most.
        drawn = code == 1 and err.endswith("samples failed\n")
        if (code and not drawn) or "Traceback" in err:
            failures.append(f"$ {command}\nexit code {code}\n{out}{err}")
        elif COMMANDS[command] and masked(out) != masked(COMMANDS[command]):
            failures.append(f"$ {command}\nshown: {COMMANDS[command]}\nprinted: {out}")
    assert not failures, "\n\n".join(failures)
    # They did what the documents say.
    assert (root / "GRCTKSIPPICFPD.cif").exists() and (root / "runs/mine/best/model.safetensors").exists()
    assert "DLY" in (root / "KLAKLAKKLAKLAK.cif").read_text()
    own = TemplateLibrary.load(root / "own.safetensors")
    assert [own.sequence(n) for n in range(len(own))] == ["GCCSDPRCAWRC"]
    assert (root / "weights/esm2_t6_8M_UR50D/model.safetensors").exists()


@pytest.mark.parametrize("command", of_kind("pip"))
def test_extras_that_are_installed_exist(command):
    extras = set(re.findall(r"\[(\w+)\]", command))
    found = tomllib_extras()
    assert extras and extras <= found, command


def tomllib_extras():
    """Return the extras of the project: the names in its table, without a TOML reader, which Python 3.10 has not."""
    text = (ROOT / "pyproject.toml").read_text()
    (table,) = re.findall(r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, re.DOTALL | re.MULTILINE)
    return set(re.findall(r"^(\w+) = \[", table, re.MULTILINE))


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("command", of_kind("curl"))
def test_requests_to_the_server_are_answered(command):
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    with running() as server:
        words = shlex.split(command.replace("127.0.0.1:8765", f"127.0.0.1:{server.port}"))
        done = subprocess.run(
            [*words, "--fail", "--silent", "--noproxy", "*"], capture_output=True, text=True
        )
    assert done.returncode == 0 and ("ATOM" in done.stdout or '"plddt"' in done.stdout), done


@pytest.mark.parametrize("command", of_kind("elsewhere"))
def test_what_another_test_runs(command, tmp_path, monkeypatch):
    file, _, name = ELSEWHERE[elsewhere(command)].partition("::")
    assert f"\ndef {name}(" in (ROOT / "tests" / file).read_text()
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    if PROGRAM not in words:
        program = next(word for word in words if not word.startswith("-"))
        assert program.startswith((".venv/bin/", "pip")) or (ROOT / program).exists()
        return
    arguments = words[words.index(PROGRAM) + 1 :]
    for word in arguments[1:]:
        if "/" in word:
            Path(word).mkdir(parents=True, exist_ok=True)  # what must exist does
    context = cli.make_context("betafold-mlx", [*arguments])
    with context:
        sub = cli.get_command(context, arguments[0])
        sub.make_context(arguments[0], arguments[1:], parent=context)  # or it raises what is wrong with them


def test_the_picture_is_of_the_bundled_model():
    spec = importlib.util.spec_from_file_location("draw_folds", ROOT / "scripts" / "_draw_folds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kept = (ROOT / "docs" / "folds.svg").read_text()
    assert len(kept) < 150_000 and "<script" not in kept and "href" not in kept
    drawn, committed = (
        ElementTree.fromstring(text) for text in (module.picture(Predictor.load(BUNDLED)), kept)
    )
    for name in ("text", "line", "circle"):
        found = [each.findall(f".//{{http://www.w3.org/2000/svg}}{name}") for each in (drawn, committed)]
        assert len(found[0]) == len(found[1]) > 0
        for new, old in zip(*found, strict=True):
            (new_words, new_number), (old_words, old_number) = (apart(each.text or "") for each in (new, old))
            assert new_words == old_words and abs(new_number - old_number) <= 1


def apart(text):
    """Return a text without its last number, and that: another processor may round it differently."""
    number = re.search(r"\d+$", text)
    return (text[: number.start()], int(number[0])) if number else (text, 0)


def python_of(document):
    return re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "document", [each for each in DOCUMENTS if python_of(each)], ids=lambda path: path.name
)
def test_python_works(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in python_of(document):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(block, document.name, "exec"), names)
    assert any(tmp_path.iterdir())


def targets(document):
    """Return where the links and pictures of a document lead, without those of other sites."""
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def anchors(path):
    """Return the anchors that GitHub makes of the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in targets(document):
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_scripts_and_files_that_the_documents_name_exist():
    for document in DOCUMENTS:
        for name in re.findall(r"`((?:scripts|tests|betafold_mlx)/[\w./-]+)", document.read_text()):
            assert (ROOT / name.rstrip(".")).exists(), (document.name, name)
