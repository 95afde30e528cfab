"""Fuzzing: the commands on files that are mutated at random, or by coverage (with ``--coverage``, which needs atheris).

    python tests/fuzzing.py pdb fasta --seconds 60       # each target for a minute
    python tests/fuzzing.py all --runs 2000 --seed 7     # so many inputs of each
    python tests/fuzzing.py pdb --seed 7 --only 1234     # one of them again, with what the command says

Input number N of a target and a seed is always the same one. A target is a list of cases: a file, and a command that
reads it. It fails where the command raises, ends with an exit code other than 0, 1 and 2 or without its one line, takes
`SECONDS` or more, makes the process grow beyond `MEMORY`, or leaves a temporary file or half a document.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SECONDS, MEMORY = 10.0, 2 << 30
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ODD = [
    *("", "0", "-1", "nan", "NaN", "inf", "-inf", "1e999", "1e308", "99999999999999999999", "********", "?", "."),
    *("null", "true", "[]", "{}", '""', "\u00e9", "\ufeff", "\u2028", "\0", "\r", "\t", "-", "1.0", "0x1", "'", '"'),
]  # fmt: skip


class Case(NamedTuple):
    """A file, what it holds before it is mutated, and the command that reads it."""

    path: Path
    content: bytes
    command: tuple[str, ...]


def mutate(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Return the content with one to six changes, of bytes, words, lines, or pieces of other files."""
    if content[8:9] == b"{" and rng.random() < 0.7:  # safetensors: mostly the header, with its length mended
        size = int.from_bytes(content[:8], "little")
        head = mutate(content[8 : 8 + size], rng, [])
        return len(head).to_bytes(8, "little") + head + content[8 + size :]
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        content = rng.choice(_CHANGES)(content, rng, others)
    return gzip.compress(content, mtime=0)[: rng.choice([None, 40])] if rng.random() < 0.02 else content


def _bytes(content: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 4, 64]) if changed else 0):
        changed[rng.randrange(len(changed))] = rng.choice([0, 10, 32, 255, 0xBD, rng.randrange(256)])
    return bytes(changed)


def _word(content: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Put something odd in the place of a word or a number, in as many columns where it fits."""
    start = rng.randrange(len(content) + 1)
    marks = b' ,:"{}[]()\n\t.-'
    while start and content[start - 1 : start] not in [marks[i : i + 1] for i in range(len(marks))]:
        start -= 1
    end = start
    while end < len(content) and content[end] not in marks and end - start < 40:
        end += 1
    odd = rng.choice(ODD).encode()
    return content[:start] + (odd.rjust(end - start) if rng.random() < 0.5 else odd) + content[end:]


def _lines(content: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Drop, double, move or swap lines."""
    lines = content.splitlines(keepends=True) or [b""]
    i, j = sorted((rng.randrange(len(lines)), rng.randrange(len(lines))))
    how = rng.randrange(5)
    if how == 0:
        del lines[i : min(j, i + 20) + 1]
    elif how == 1:
        lines[i:i] = lines[i : i + rng.choice([1, 20])] * rng.choice([1, 3])
    elif how == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif how == 3:
        rng.shuffle(lines)
    else:
        lines.insert(i, lines[j])
    return b"".join(lines)


def _columns(content: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Change the same columns of many lines."""
    lines = content.split(b"\n")
    start, new = rng.randrange(80), rng.choice(ODD).encode()
    every = rng.choice([1, 1, 7])
    return b"\n".join(
        line[:start] + new + line[start + len(new) :] if n % every == 0 else line
        for n, line in enumerate(lines)
    )


def _splice(content: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others) if others else content
    start, size = rng.randrange(len(other) + 1), rng.choice([1, 8, 80, 800, 8000])
    place = rng.randrange(len(content) + 1)
    return (
        content[:place] + other[start : start + size] + content[place + rng.choice([0, size]) :]
    )  # fmt: skip


def _cut(content: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    place = rng.randrange(len(content) + 1)
    return content[:place] if rng.random() < 0.5 else content[:place] + content[place + rng.randrange(200) :]


_CHANGES = (_bytes, _word, _word, _word, _lines, _columns, _splice, _cut)


def run_case(case: Case, content: bytes, folder: Path) -> str | None:
    """Run the command of a case on this content; return what is wrong with what it does, None where nothing is."""
    from cli_helpers import run

    before = set(folder.rglob("*"))
    case.path.write_bytes(content)
    start = time.process_time()
    try:
        code, _, said = run(*case.command, cwd=folder)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = next((f for f in reversed(where) if "betafold_mlx" in f.filename), where[-1])
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(ours.filename).name}:{ours.lineno})"
    finally:
        seconds = time.process_time() - start
        new = [path for path in folder.rglob("*") if path not in before]
        problem = _left(new)
        for path in sorted(new, reverse=True):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        case.path.write_bytes(case.content)
    if code not in (0, 1, 2):
        return f"exit code {code}"
    last = said.splitlines()[-1:] or [""]
    if (code and not said) or (code == 2 and not last[0].startswith("betafold-mlx: ")):
        return f"exit code {code} and no line that says why: {last[0][:200]!r}"
    if any(word in said for word in ("Traceback", "out of memory", "Warning:")):
        return f"it says {said[-300:]!r}"
    if seconds > SECONDS:
        return f"{seconds:.0f} seconds"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10) > MEMORY:
        return "the process has grown beyond 2 GB"
    return problem


def _left(new: Sequence[Path]) -> str | None:
    for path in new:
        if path.name.startswith(".") and path.name not in (".lock", ".fold"):
            return f"{path.name} is left"
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return f"{path.name} is no whole JSON"
    return None


# The targets. Half of the contents are real files, where ../shared/data is there.


def make_toys(folder: Path) -> None:
    """Make a folder with a small one of everything: data set, models, ESM-2, cache, runs, library."""
    from cli_esm_helpers import OPTIONS, make_folder
    from cli_helpers import run
    from synthetic import toy_model

    from betafold_mlx.data.store import Dataset
    from betafold_mlx.data.template_library import build_template_library
    from betafold_mlx.generate.generator_config import GeneratorConfig
    from betafold_mlx.generate.network import BackboneGenerator, save_generator
    from betafold_mlx.model.companions import JUDGE, SIDE_CHAINS
    from betafold_mlx.model.config import JudgeConfig, SideChainConfig
    from betafold_mlx.model.directory import load_model, save_model
    from betafold_mlx.model.judge import Judge
    from betafold_mlx.model.side_chains import SideChainNetwork
    from betafold_mlx.templates.library import LIBRARY_FILE

    make_folder(folder)
    save_model(folder / "model", toy_model(), "card", {})
    sha256 = load_model(folder / "model").sha256
    judge = Judge(JudgeConfig(states=32, width=16, layers=1, heads=2, ffn_width=16, pair_width=8))
    JUDGE.save(folder / "model", judge, sha256)
    chains = SideChainNetwork(SideChainConfig(width=16, edge_width=16, layers=1, neighbours=4))
    SIDE_CHAINS.save(folder / "model", chains, sha256)
    build_template_library(Dataset.load(folder / "set")).save(folder / "model" / LIBRARY_FILE)
    generator = GeneratorConfig(width=32, layers=1, heads=2, ffn_width=32)
    save_generator(folder / "generator", BackboneGenerator(generator), "card", {})
    assert run("train", "set", "-o", "plain", *OPTIONS, cwd=folder)[0] == 0


FOLD = ("--model", "model", "--candidates", "1", "--processes", "1", "-o", "out")
ALONE = (*FOLD, "--templates", "none")


def structures(folder: Path, suffix: str) -> list[Case]:
    """Cases of structure files in one format."""
    import gemmi

    contents = [path.read_bytes() for path in sorted((DATA / "structures").glob("*.pdb"))[:8]]
    own = folder / f"own{suffix}"
    from betafold_mlx.fold.predictor import Predictor

    Predictor.load(folder / "model").fold("GCNAPFCKGYWC", disulfides=[(2, 7)]).save(own)
    contents = [own.read_bytes(), *contents]
    if suffix == ".cif":
        contents[1:] = [
            gemmi.read_pdb_string(each.decode()).make_mmcif_document().as_string().encode()
            for each in contents[1:]
        ]
        contents += [path.read_bytes() for path in sorted((DATA / "structures").glob("*.cif"))[:6]]
    name = f"x{suffix}"
    (folder / "predicted").mkdir(exist_ok=True)
    (folder / "predicted" / name).write_bytes(contents[0])
    (folder / "truth").mkdir(exist_ok=True)
    (folder / "truth" / name).write_bytes(contents[0])
    motif = ("--residues", "2-6", "--length", "16", "--num", "1", "--model", "generator", "--steps", "1")
    commands = [
        ("truth", ("dataset", "build", f"truth/{name}", "-o", "out")),
        ("truth", ("dataset", "build", "truth", "--apart-from", "truth", "-o", "out")),
        ("predicted", ("evaluate", "--predictions", "predicted", "--references", "truth", "--json")),
        ("truth", ("evaluate", "--predictions", "predicted", "--references", f"truth/{name}", "--json")),
        ("predicted", ("distill", "--structures", "predicted", "--against", "set", "-o", "out")),
        ("truth", ("generate", "--motif", f"truth/{name}", *motif, "-o", "out")),
    ]
    return [
        Case(folder / where / name, content, command)
        for content in contents
        for where, command in commands
    ]  # fmt: skip


def json_lines(folder: Path) -> list[Case]:
    """Cases of backbone JSON lines, and of side-chain angles."""
    from synthetic import make_dataset

    from betafold_mlx.structure.backbone import Backbone
    from betafold_mlx.structure.jsonl import write_backbones

    data = make_dataset(held_out=1)
    write_backbones(
        folder / "own.jsonl",
        [
            Backbone(r.id, r.sequence, data.coordinates[r.start : r.start + r.length], kind=r.kind)
            for r in data.records[-6:]
        ],
    )
    contents = [(folder / "own.jsonl").read_bytes()]
    chi = b'{"id": "x", "seq": "ACD", "chi": [0, 1, 2, 3, null, 1, 2, 3, 1, 2, 3, 4]}\n'
    for name in ("peptides.jsonl.gz", "peptides-more.jsonl.gz", "chains.jsonl.gz"):
        if (DATA / name).exists():
            with gzip.open(DATA / name) as file:
                contents += [b"".join(file.readline() for _ in range(3)) for _ in range(2)]
    (folder / "x.jsonl").write_bytes(contents[0])
    (folder / "chi.jsonl").write_bytes(chi)
    (folder / "predicted").mkdir(exist_ok=True)
    commands = [
        ("dataset", "build", "x.jsonl", "-o", "out"),
        ("dataset", "build", "x.jsonl", "own.jsonl", "--apart-from", "x.jsonl", "-o", "out"),
        ("evaluate", "--predictions", "predicted", "--references", "x.jsonl", "--json"),
    ]
    cases = [Case(folder / "x.jsonl", content, command) for content in contents for command in commands]
    build = ("dataset", "build", "own.jsonl", "--chi", "chi.jsonl", "-o", "out")
    return [*cases, Case(folder / "chi.jsonl", chi, build)]


def fasta(folder: Path) -> list[Case]:
    """Cases of FASTA files and lists of peptides."""
    contents = [
        b">a some peptide\nGIGKFLHSAKK\n>b|cyclic disulfides=1-6\nCRGDFCRV\n>c\nKLvffA\n",
        b"; comment\n>x n-cap=ACE c-cap=NH2 bond=3:NZ-7:CD\nAAKAAAE\n>y residues=3:DPN,5:AIB\nACDEFGHIK\n",
        b"Ac-Nle-Asp-His-D-Phe-Arg-Trp-Lys-NH2\ncyclo(RGDfV)\nG[AIB]A[NLE]A\n",
        b">h\r\nPEPTIDE1{[ac].C.K.[dF].C.[am]}$PEPTIDE1,PEPTIDE1,2:R3-5:R3$$$\r\n\r\n",
    ]
    if (DATA / "peptides.jsonl.gz").exists():
        with gzip.open(DATA / "peptides.jsonl.gz") as file:
            records = [json.loads(file.readline()) for _ in range(12)]
        contents += [
            "".join(f">{r['id']}\n{r['seq'][:50]}\n" for r in records[n : n + 3]).encode()
            for n in range(0, 12, 3)
        ]
    path = folder / "x.fasta"
    path.write_bytes(contents[0])
    commands = [
        ("fold", "x.fasta", *ALONE, "--atoms", "backbone"),
        ("fold", "x.fasta", *ALONE, "--output-format", "jsonl", "--json"),
        ("perplexity", "x.fasta", "--embedder", "tiny", "--json"),
        ("distill", "--sequences", "x.fasta", "--against", "set", "--teacher", "model", "-o", "out"),
    ]
    return [Case(path, content, command) for content in contents for command in commands]


def helm(folder: Path) -> list[Case]:
    """Cases of peptides in HELM and other notations, one in a line of its own."""
    texts = [
        "PEPTIDE1{[ac].C.K.[dF].C.[am]}$PEPTIDE1,PEPTIDE1,2:R3-5:R3$$$",
        "PEPTIDE1{R.G.D.[dF].V}$PEPTIDE1,PEPTIDE1,5:R2-1:R1$$$V2.0",
        'PEPTIDE1{A."c".[Aib].K(G).[meA].E.A}$PEPTIDE1,PEPTIDE1,4:R3-6:R3$$$',
        "PEPTIDE1{[Glp].H.W.S.Y.G.L.R.P.G.[am]}$$$$",
    ]
    path = folder / "x.helm"
    path.write_text(texts[0])
    command = ("fold", "x.helm", *ALONE, "--atoms", "backbone", "--json")
    return [Case(path, text.encode(), command) for text in texts]


_READERS: dict[str, tuple[str, ...]] = {
    "model": ("fold", "ACDEFGHIK", *FOLD, "--json"),
    "generator": ("generate", *("--length", "12", "--num", "1", "--steps", "2", "--model", "generator", "-o", "out")),
    "tiny": ("perplexity", "ACDEFGHIK", "--embedder", "tiny", "--json"),
    "hub": ("convert-esm", "--from", "hub", "-o", "out"),
    "set": ("dataset", "info", "set", "--json"),
    "cache": ("embed", "set", "--embedder", "tiny", "-o", "cache"),
    "plain": ("train", "set", "-o", "plain", "--resume"),
    "plain/best": ("fold", "ACDEFGHIK", "--model", "plain/best", *FOLD[2:], "--atoms", "backbone"),
}  # fmt: skip


def documents(folder: Path, suffixes: tuple[str, ...]) -> list[Case]:
    """Cases of what the package itself writes: models, data sets, caches, runs."""
    return [
        Case(path, path.read_bytes(), command)
        for name, command in _READERS.items()
        for path in sorted((folder / name).rglob("*"))
        if path.suffix in suffixes and (path.parent.name != "best" or name.endswith("best"))
    ]


TARGETS: dict[str, Callable[[Path], list[Case]]] = {
    "pdb": lambda folder: structures(folder, ".pdb"),
    "mmcif": lambda folder: structures(folder, ".cif"),
    "jsonl": json_lines,
    "fasta": fasta,
    "helm": helm,
    "safetensors": lambda folder: documents(folder, (".safetensors",)),
    "config": lambda folder: documents(folder, (".json", ".jsonl")),
}


def _quick() -> None:
    """Minimise and close in a few steps: how good the folds are does not matter here."""
    from betafold_mlx.fold import closing, ensemble, fitting, traces

    ensemble.STEPS = ensemble.BONDED_STEPS = 4
    ensemble.ATTEMPTS = closing.ROUNDS = traces.ROUNDS = 1
    fitting.STAGES = tuple(stage._replace(steps=1) for stage in fitting.STAGES)


def work(target: str, seed: int, numbers: Sequence[int], seconds: float, coverage: bool) -> None:
    """Do the inputs with these numbers, and print a line of JSON for each."""
    import betafold_mlx  # noqa: F401

    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    watched: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    if coverage:
        import atheris

        watched = atheris.instrument_imports(include=["betafold_mlx"])
    with watched:  # nearly all modules are imported here
        make_toys(folder)
        cases = TARGETS[target](folder)
        for command in {case.command: case for case in cases}.values():
            run_case(command, command.content, folder)
    _quick()
    faulthandler.dump_traceback_later(12 * SECONDS, exit=True)
    random.seed(0)

    def one(number: int | str, case: Case, content: bytes) -> None:
        faulthandler.dump_traceback_later(12 * SECONDS, exit=True)
        problem = run_case(case, content, folder)
        if problem and coverage:
            Path(f"fuzz-{target}-{os.getpid()}-{number}").write_bytes(content)
        print(
            json.dumps({"number": number, "problem": problem, "command": " ".join(case.command)}), flush=True
        )

    end = time.monotonic() + seconds
    if coverage:
        _by_coverage(target, seed, cases, one, seconds)
    for number in numbers:
        if time.monotonic() > end:
            break
        rng = random.Random(f"{target} {seed} {number}")
        case = rng.choice(cases)
        content = mutate(case.content, rng, [each.content for each in cases])
        print(json.dumps({"number": number, "begun": True, "command": " ".join(case.command)}), flush=True)
        one(number, case, content)
    shutil.rmtree(folder)


def _by_coverage(target: str, seed: int, cases: list[Case], one: Callable[..., None], seconds: float) -> None:
    """Let libFuzzer choose what to keep and change: its inputs are a byte, the number of the case, and the content."""
    import atheris

    corpus = Path(tempfile.mkdtemp(prefix="corpus"))
    for number, case in enumerate(cases):
        (corpus / str(number)).write_bytes(number.to_bytes(2, "big") + case.content)
    counter = iter(range(1 << 60))

    def test(data: bytes) -> None:
        case = cases[int.from_bytes(data[:2], "big") % len(cases)]
        one(next(counter), case, data[2:])

    def change(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        return data[:2] + mutate(data[2:], rng, [case.content for case in cases])[: most - 2]

    options = [
        f"-seed={seed + 1}",
        f"-max_total_time={int(seconds)}",
        "-max_len=400000",
        "-rss_limit_mb=4096",
    ]
    atheris.Setup([target, *options, str(corpus)], test, custom_mutator=change)
    atheris.Fuzz()


def main() -> None:
    """Run the targets in processes of their own, print a table, and exit with 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("targets", nargs="+", choices=[*TARGETS, "all"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=10**9)
    parser.add_argument("--only", type=int)
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    targets = list(TARGETS) if "all" in given.targets else given.targets
    if given.only is not None and not given.work:
        given.runs = 1
    if given.work:
        first = given.only or 0
        work(targets[0], given.seed, range(first, first + given.runs), given.seconds, given.coverage)
        return
    found = 0
    print(f"{'target':<12} {'inputs':>7} {'failed':>7} {'seconds':>8}")
    for target in targets:
        start, inputs, problems = time.monotonic(), 0, []
        first = given.only or 0
        while inputs < given.runs and time.monotonic() - start < given.seconds:
            left = given.seconds - (time.monotonic() - start)
            command = [
                sys.executable,
                __file__,
                target,
                "--work",
                "--only",
                first,
                "--runs",
                given.runs - inputs,
            ]
            command += ["--seed", given.seed, "--seconds", left, *["--coverage"] * given.coverage]
            process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
            last = None
            assert process.stdout is not None
            for line in process.stdout:
                last = json.loads(line)
                if "begun" not in last:
                    inputs += 1
                    if last["problem"]:
                        problems.append(last)
                        print(
                            f"  {target} {last['number']}: {last['problem']}  [{last['command']}]", flush=True
                        )
            if process.wait() == 0 or last is None or "begun" not in last or given.coverage:
                break
            problems.append(last)
            inputs += 1
            print(
                f"  {target} {last['number']}: the process ended with {process.returncode}  [{last['command']}]"
            )
            first = last["number"] + 1
        found += len(problems)
        print(f"{target:<12} {inputs:>7} {len(problems):>7} {time.monotonic() - start:>8.0f}", flush=True)
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
