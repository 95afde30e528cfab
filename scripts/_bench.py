"""How fast this is beside its peers: started by ``scripts/bench``."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import click
from _bench_measure import (
    BATCHES,
    LENGTHS,
    PAIRS,
    PEPTIDES,
    STEP,
    Time,
    Times,
    embedding_name,
    nerf_name,
    superposition_name,
)
from _bench_processes import Run, fold_command, run, write_fasta
from _bench_report import table
from _bench_triangle_cases import cases
from _bench_triangle_report import check_plot, plot, summary

import betafold_mlx
from betafold_mlx._blas import blas_name, usable_processors
from betafold_mlx.files import to_json

OURS = "betafold-mlx"
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PEPTIDE = "GIGKFLHSAKKFGKAFVGEIMNS"


class Section(NamedTuple):
    """What is measured in processes of `_bench_worker`: our function, the peers', and what we want to reach."""

    what: str
    function: str
    peers: dict[str, str]
    goals: dict[str, dict[str, float]]  # by peer and case: how many times faster


SECTIONS = {
    "embed": Section(
        "ESM2-8M embeddings, random weights",
        "embed",
        {"torch": "embed_torch"},
        {"torch": {embedding_name(n, b): 1.5 if b == 1 else 1.0 for n in LENGTHS for b in BATCHES}},
    ),
    "head": Section("the folding network", "head", {"torch": "head_torch"}, {"torch": {STEP: 1.0}}),
    "nerf": Section(
        "torsions to backbones",
        "nerf",
        {"loop": "nerf_loop", "PeptideBuilder": "nerf_peptidebuilder", "jax": "nerf_jax"},
        {"loop": {nerf_name(PEPTIDES[-1]): 20.0}, "PeptideBuilder": {nerf_name(PEPTIDES[-1]): 100.0}},
    ),
    "superpose": Section(
        "RMSD after superposition",
        "superpose",
        {"biotite": "superpose_biotite", "gemmi": "superpose_gemmi"},
        {"biotite": {superposition_name(PAIRS): 20.0}},
    ),
    "bonds": Section("fold with stated bonds, one peptide at a time", "bonds", {}, {}),
}
PROCESSES = ("cold", "library")
NAMES = (*SECTIONS, *PROCESSES, "profile", "triangle")


@click.command()
@click.argument("sections", metavar="[SECTION]...", nargs=-1, type=click.Choice(NAMES))
@click.option("--quick", is_flag=True, help="One round, few repeats, small libraries.")
@click.option(
    "--only", type=click.Choice(NAMES), multiple=True, help="The same as to name a section; repeatable."
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 20),
    default=None,
    help="Processes of each library, in turns.  [3; quick: 1]",
)
@click.option(
    "--threads", type=click.IntRange(1), default=None, help="Of each library.  [the usable processors]"
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Draw the section triangle into this file (.svg or .png).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")
def bench(
    sections: tuple[str, ...],
    quick: bool,
    only: tuple[str, ...],
    rounds: int | None,
    threads: int | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Measure how fast this is, and its peers at the same, on this machine: all sections, or the named ones.

    Each library runs in processes of its own, in turns, with the same number of threads. Times are medians over the
    repeats of all rounds with quartiles; a ratio is the median over rounds of the peer's time by ours. Where other
    things run on the machine, trust the ratio of processor times, and that only with --threads 1.
    """
    if picture:
        check_plot(picture)
    threads = threads or usable_processors()
    rounds = rounds or (1 if quick else 3)
    environment = os.environ | {name: str(threads) for name in THREADS}
    load = os.getloadavg()[0]
    report: dict[str, Any] = {"schema_version": 1, "quick": quick, "rounds": rounds, "sections": {}}
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="betafold-bench-") as name:
        folder = Path(name)
        for section in (*sections, *only) or NAMES:
            _say(section)
            if section in SECTIONS:
                result = _compare(SECTIONS[section], folder, environment, rounds, quick, versions)
            elif section == "cold":
                result = _cold(folder, environment, rounds, quick)
            elif section == "library":
                result = _library(folder, environment, quick)
            elif section == "triangle":
                result = {"what": "the pair trunk by length, width, form of triangle attention and precision"}
                result |= summary(_triangle(folder, environment, quick, versions))
                if picture:
                    plot(result["rows"], picture)
            else:
                answer = _work("_bench_profile", "profile", folder, environment, quick)
                versions.update(answer["versions"])
                result = answer["times"]
            report["sections"][section] = result
    report["machine"] = _machine(threads, versions, load)
    click.echo(to_json(report) if as_json else table(report), nl=False)


def _compare(
    section: Section,
    folder: Path,
    environment: dict[str, str],
    rounds: int,
    quick: bool,
    versions: dict[str, str],
) -> dict[str, Any]:
    """Run us and the peers in turns."""
    ways = {OURS: ("_bench_ours", section.function)}
    ways |= {peer: ("_bench_peers", function) for peer, function in section.peers.items()}
    found: dict[str, list[Times]] = {way: [] for way in ways}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for way, (module, function) in ways.items():
            if way in failed:
                continue
            _say(f"  {way}")
            answer = _work(module, function, folder, environment, quick)
            if "missing" in answer:
                failed[way] = f"{answer['missing']} is not installed: pip install -e '.[bench]'"
                _say(f"  {failed[way]}")
                continue
            found[way].append(
                {case: [Time(*each) for each in times] for case, times in answer["times"].items()}
            )
            versions.update(answer["versions"])
    cases = []
    for case in found[OURS][0]:
        row: dict[str, Any] = {"case": case, "seconds": {}, "times_faster": {}}
        for way in ways:
            if found[way]:
                row["seconds"][way] = _spread([each.wall for times in found[way] for each in times[case]])
        for peer in section.peers:
            if found[peer]:
                pairs = list(zip(found[OURS], found[peer], strict=True))
                walls, cpus = (
                    [_median(theirs[case], kind) / _median(ours[case], kind) for ours, theirs in pairs]
                    for kind in range(len(Time._fields))
                )
                goal = section.goals.get(peer, {}).get(case)
                row["times_faster"][peer] = _spread(walls) | {
                    "by_cpu_time": statistics.median(cpus),
                    "goal": goal,
                }
        cases.append(row)
    return {"what": section.what, "cases": cases, "left_out": failed}


def _triangle(
    folder: Path, environment: dict[str, str], quick: bool, versions: dict[str, str]
) -> list[dict[str, Any]]:
    """Measure each case of the pair trunk in a process of its own: what one held in memory is not another's."""
    rows = []
    for case in cases(quick):
        _say(f"  {' '.join(str(value) for value in case if value)}")
        (folder / "case.json").write_text(json.dumps(case._asdict()))
        answer = _work("_bench_triangle", "one", folder, environment, quick)
        versions.update(answer["versions"])
        rows.append(answer["times"])
    return rows


def _work(
    module: str, function: str, folder: Path, environment: dict[str, str], quick: bool
) -> dict[str, Any]:
    worker = Path(__file__).with_name("_bench_worker.py")
    command = [sys.executable, str(worker), module, function, str(folder), "quick" if quick else "full"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{function} failed: {' '.join(done.stderr.split())[-500:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _cold(folder: Path, environment: dict[str, str], rounds: int, quick: bool) -> dict[str, Any]:
    """Fold one peptide in a fresh process, against a fresh process that only imports the peers."""
    repeats = rounds * (1 if quick else 5)
    failed: dict[str, str] = {}
    ours, theirs = [], []
    imports = [sys.executable, "-c", "import torch, transformers"]
    for number in range(repeats + 1):  # the first reads the files from the disk
        fold = run(fold_command(PEPTIDE, "-o", str(folder / "cold")), environment)
        try:
            peer = run(imports, environment) if not failed else None
        except RuntimeError:
            failed["torch"] = "torch or transformers is not installed: pip install -e '.[bench]'"
            peer = None
        if number:
            ours.append(fold)
            theirs += [peer] if peer else []
    case: dict[str, Any] = {"case": f"fold {PEPTIDE}", "seconds": {OURS: _spread([r.seconds for r in ours])}}
    case["times_faster"] = {}
    if theirs:
        case["seconds"]["torch"] = _spread([r.seconds for r in theirs])
        pairs = list(zip(ours, theirs, strict=True))
        cpu = statistics.median(b.cpu_seconds / a.cpu_seconds for a, b in pairs)
        ratio = _spread([b.seconds / a.seconds for a, b in pairs])
        case["times_faster"]["torch"] = ratio | {"by_cpu_time": cpu, "goal": 2.0}
    return {
        "what": "whole processes: fold one peptide; python -c 'import torch, transformers'",
        "cases": [case],
        "peak_bytes": _spread([float(r.peak_bytes) for r in ours]),
        "left_out": failed,
    }


def _library(folder: Path, environment: dict[str, str], quick: bool) -> dict[str, Any]:
    """Fold a FASTA file to files, and one a tenth as long (quick: a quarter)."""
    rows = []
    for count in (50, 200) if quick else (1000, 10_000):
        _say(f"  {count} records")
        fasta = folder / f"{count}.fasta"
        write_fasta(fasta, count)
        done: Run = run(fold_command(str(fasta), "-o", str(folder / f"library-{count}")), environment)
        written = len(list((folder / f"library-{count}").glob("**/*.cif")))
        if written != count:
            raise click.ClickException(f"fold wrote {written} structures of {count}")
        rows.append(
            {
                "records": count,
                "seconds": done.seconds,
                "cpu_seconds": done.cpu_seconds,
                "peptides_per_second": count / done.seconds,
                "peak_bytes": done.peak_bytes,
            }
        )
    return {
        "what": "fold FASTA -o DIR, whole processes, 10 to 30 residues",
        "runs": rows,
        "memory_growth": rows[1]["peak_bytes"] / rows[0]["peak_bytes"] - 1,
        # The small libraries of --quick do not fill a batch: they say nothing of either.
        "goals": {} if quick else {"peptides_per_second": 300, "memory_growth": 0.2},
        "left_out": {},
    }


def _median(times: list[Time], kind: int) -> float:
    return max(statistics.median(each[kind] for each in times), 1e-9)


def _spread(values: list[float]) -> dict[str, Any]:
    """Return the median and the quartiles."""
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    )
    return {"median": middle, "low": low, "high": high, "repeats": len(values)}


def _machine(threads: int, versions: dict[str, str], load: float) -> dict[str, Any]:
    import mlx.core as mx

    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "usable_processors": usable_processors(),
        "threads": threads,
        "device": str(mx.default_device()),
        "blas": blas_name(),
        "blas_kernels_asked_for": os.environ.get("OPENBLAS_CORETYPE"),
        "versions": {
            "betafold-mlx": betafold_mlx.__version__,
            "mlx": version("mlx"),
            "python": platform.python_version(),
        }
        | versions,
        "load_average": {"before": load, "after": os.getloadavg()[0]},
    }


def _processor() -> str:
    if sys.platform == "darwin":
        return subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True
        ).stdout.strip()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _say(text: str) -> None:
    click.echo(text, err=True)


if __name__ == "__main__":
    try:
        bench(prog_name="scripts/bench")
    except RuntimeError as error:
        sys.exit(f"bench: {' '.join(str(error).split())}")
