"""Kills commands, and takes their disk away, at each change of a file or at random moments; lets them go on; compares.

    python tests/faults.py train fold --kills 30     # kill -9 at random moments, so often
    python tests/faults.py set-up --kills 15         # the first start of scripts/betafold-mlx
    python tests/faults.py all --each kill           # kill -9 before each change of a file: open, rename, remove ...
    python tests/faults.py all --each full           # from each such change on the disk is full
    python tests/faults.py all --each readonly       # from each on the disk may not be written
    python tests/faults.py all --disk 20             # on a small real file system (tmpfs, needs root), so many sizes

After each fault the same command goes on (`train` with ``--resume``, where it says so). What it leaves must be, byte
for byte, what an undisturbed run leaves. A full disk must be one line and exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHANGES = {
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.mkdir",
    "os.chmod",
    "os.truncate",
    "os.link",
    "os.symlink",
}
ERRORS = {"full": errno.ENOSPC, "readonly": errno.EROFS}
DASK = "from distributed import LocalCluster\nif __name__ == '__main__':\n    " \
    "c = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)\n    " \
    "print(c.scheduler_address, flush=True)\n    input()"  # fmt: skip
TOYS = """import pathlib, sys
import betafold_mlx, fuzzing, synthetic
folder = pathlib.Path(sys.argv[1])
fuzzing.make_toys(folder)
synthetic.with_side_chains(synthetic.make_dataset(held_out=1)).save(folder / "chi")
"""

FOLD = (
    "fold",
    "x.fasta",
    "--model",
    "model",
    "--atoms",
    "backbone",
    "--candidates",
    "1",
    "--batch-size",
    "2",
)
LIBRARY = (*FOLD, "--templates", "none", "-o", "out")
STEPS = ("--steps", "4", "--evaluate-every", "2", "--warmup", "1", "--tokens", "96")
NETWORK = ("--layers", "1", "--width", "32", "--heads", "4", "--ffn-width", "64")
LABELS = ("--against", "set", "--teacher", "model", "-o", "out", "--samples", "1", "--min-plddt", "0")
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "set", "-o", "out", *STEPS, *NETWORK),
    "train-judge": ("train-judge", "set", "-o", "out", "--model", "model", *STEPS[:-2], "--batches", "2"),
    "train-side-chains": ("train-side-chains", "chi", "-o", "out", "--model", "model", *STEPS),
    "train-generator": ("train-generator", "set", "-o", "out", *STEPS, *NETWORK, "--decoder-layers", "1"),
    "generate": ("generate", "-o", "out", "--length", "12", "--num", "3", "--steps", "2"),
    "fold-one": ("fold", "ACDEFGHIK", *FOLD[2:-2], "-o", "out", "--report"),
    "distill": ("distill", "--sequences", "x.fasta", *LABELS),
    "distill-again": ("distill", "--sequences", "x.fasta", *LABELS, "--force"),
    "templates": ("dataset", "templates", "set", "-o", "out/own.safetensors"),
    "entries": ("dataset", "entries", "set", "-o", "out"),
    "embed": ("embed", "set", "--embedder", "tiny", "-o", "out", "--windows", "5000"),
    "fold": (*LIBRARY, "--processes", "1"),
    "fold-jsonl": (*LIBRARY, "--processes", "1", "--output-format", "jsonl"),
    "fold-parquet": (*LIBRARY, "--processes", "1", "--output-format", "parquet"),
    "fold-workers": (*LIBRARY, "--processes", "2"),
    "fold-dask": (*LIBRARY, "--scheduler", "ADDRESS"),
    "convert-esm": ("convert-esm", "--from", "hub", "-o", "out"),
    "convert-again": ("convert-esm", "--from", "hub", "-o", "out", "--force"),
    "dataset": ("dataset", "build", "x.jsonl", "-o", "out"),
    "dataset-again": ("dataset", "build", "x.jsonl", "-o", "out", "--force"),
}  # fmt: skip


def resumed(command: tuple[str, ...]) -> tuple[str, ...]:
    """Return what goes on with a training: the command without its settings, which come last."""
    return (*command[: command.index("--steps")], "--resume")


def start(folder: Path, command: tuple[str, ...], fault: str = "", number: int = -1) -> int:
    """Start a command in a process of its own, a fork of this one, and return its id.

    With a fault it is killed before, or has no disk from, change `number` of a file in the folder.
    """
    process = os.fork()
    if process:
        return process
    os.setsid()
    os.chdir(folder)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    below, count = Path.cwd(), 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            changes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        else:
            changes = event in CHANGES
        if not changes or isinstance(arguments[0], int):
            return
        path = Path.cwd() / os.fsdecode(arguments[0])
        if below not in path.parents:
            return
        count += 1
        if count > number >= 0:
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "readonly" or event in ("open", "os.mkdir", "os.rename"):
                raise OSError(ERRORS[fault], os.strerror(ERRORS[fault]), str(path))

    if fault:
        sys.addaudithook(hook)
    from betafold_mlx.cli.main import main

    try:
        main(list(command))
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    os._exit(99)


def finish(process: int, after: float | None = None) -> int:
    """Wait for a process, kill it after so many seconds; return its exit code, -9 where it was killed."""
    end = None if after is None else time.monotonic() + after
    while True:
        done, status = os.waitpid(process, 0 if end is None else os.WNOHANG)
        if done:
            break
        if end is not None and time.monotonic() > end:
            os.kill(process, signal.SIGKILL)
            end = None
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):  # its workers end by themselves: wait for them
        for _ in range(2000):
            os.killpg(process, 0)
            time.sleep(0.01)
    return os.waitstatus_to_exitcode(status)


def contents(folder: Path) -> dict[str, bytes]:
    """What a command left, by path; locks have nothing to tell."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in sorted(folder.rglob("*"))
        if path.name not in (".lock", "lock")
    }


class Series:
    """One command in a folder, its undisturbed results, and the faults."""

    def __init__(self, name: str, folder: Path, address: str) -> None:
        self.name, self.folder, self.out = name, folder, folder / "out"
        self.command = tuple(word.replace("ADDRESS", address) for word in COMMANDS[name])
        self.faults = 0
        self.problems: list[str] = []
        self.fresh()
        begun = time.monotonic()
        self.code = finish(start(folder, self.command))
        self.seconds = time.monotonic() - begun
        assert self.code == 0, self.said()
        self.expected = contents(self.out)
        self.beside = {path.name for path in folder.iterdir()}
        self.fresh()

    def fresh(self) -> None:
        """Begin with no output, or that of an earlier run where one is to be replaced."""
        if not self.name.endswith("-again"):
            shutil.rmtree(self.out, ignore_errors=True)
        for path in self.folder.glob(".out*"):
            shutil.rmtree(path)

    def problem(self, text: str) -> None:
        self.problems.append(text)
        print(f"  {self.name} {text}", flush=True)

    def said(self) -> str:
        return (self.folder / "stderr").read_text()

    def check_fault(self, what: str, code: int) -> None:
        """After a fault: nothing that is there is torn."""
        self.faults += 1
        if code == 99 or "Traceback" in self.said():
            self.problem(f"{what}: traceback {self.said()[-600:]}")
        if code > 0 and code != self.code and not self.said().splitlines()[-1].startswith("betafold-mlx: "):
            self.problem(f"{what}: no line that says why: {self.said()[-300:]}")
        if self.name.endswith("-again") and not self.out.exists():
            self.problem(f"{what}: the old output is gone")
        for name, content in contents(self.out).items() if self.out.exists() else ():
            hidden = any(part.startswith(".") for part in Path(name).parts)
            growing = self.name.startswith(("train", "generate"))
            if not hidden and not growing and self.expected.get(name, content) != content:
                self.problem(f"{what}: {name} is torn")

    def go_on(self, what: str) -> None:
        """Go on to the end, and compare."""
        code = finish(start(self.folder, self.command))
        said = self.said()
        if code and "--resume" in said and self.name.startswith("train"):
            code = finish(start(self.folder, resumed(self.command)))
        elif code and ("--force" in said or "complete" in said):  # it was whole before it was killed
            code = self.code
        if code != self.code:
            self.problem(f"{what}: going on ends with {code}: {self.said()[-300:]}")
        left = contents(self.out) if self.out.exists() else {}
        differ = sorted(n for n in left.keys() | self.expected.keys() if left.get(n) != self.expected.get(n))
        if differ:
            self.problem(f"{what}: other bytes after going on: {differ[:5]}")
        beside = {path.name for path in self.folder.iterdir()} - self.beside - {"out"}
        if beside:
            self.problem(f"{what}: left beside the output: {sorted(beside)}")
        self.fresh()

    def each(self, fault: str) -> None:
        """Put a fault at each change of a file, one run after another."""
        for number in range(10_000):
            code = finish(start(self.folder, self.command, fault, number))
            if code == self.code:
                break
            what = f"{fault} at change {number}"
            self.check_fault(what, code)
            self.go_on(what)
        self.fresh()

    def kills(self, count: int, seed: int) -> None:
        """Kill at random moments, up to three times before a run may end."""
        rng = random.Random(f"{self.name} {seed}")
        while self.faults < count:
            for _ in range(rng.choice([1, 1, 2, 3])):
                moment = rng.uniform(0, 1.05 * self.seconds)
                command = self.command
                if self.name.startswith("train") and (self.out / "run.json").exists():
                    command = resumed(command)
                code = finish(start(self.folder, command), moment)
                if code == -signal.SIGKILL:
                    self.check_fault(f"kill after {moment:.3f} s", code)
                elif code not in (self.code, 1):
                    self.problem(f"exit code {code}: {self.said()[-300:]}")
            self.go_on(f"kill {self.faults}, after {moment:.3f} s")

    def disk(self, sizes: int) -> None:
        """Write to file systems of many sizes that are too small."""
        need = sum(len(content) for content in self.expected.values())
        rng = random.Random(self.name)
        for _ in range(sizes):
            size = max(4096, int(rng.uniform(0, 1.1) * need))
            self.fresh()
            self.out.mkdir(exist_ok=True)
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.out)]
            subprocess.run(mount, check=True)
            inside = tuple("out/x" if word == "out" else word for word in self.command)
            try:
                code = finish(start(self.folder, inside))
                if code != self.code:
                    self.check_fault(f"disk of {size} bytes", code)
                    subprocess.run([*mount[:4], "remount,size=100m", *mount[5:]], check=True)
                    holds = "already holds a run" in self._try(inside)
                    again = resumed(inside) if holds else inside
                    code = finish(start(self.folder, again))
                    if code not in (self.code, 1) or contents(self.out / "x") != self.expected:
                        self.problem(f"disk of {size} bytes: other bytes after going on {self.said()[-200:]}")
            finally:
                subprocess.run(["umount", str(self.out)], check=True)
                self.out.rmdir()

    def _try(self, command: tuple[str, ...]) -> str:
        finish(start(self.folder, command))
        return self.said()


def set_up(kills: int, seed: int) -> None:
    """Kill the first start of ``scripts/betafold-mlx`` in a checkout that installs offline; start it again."""
    from test_scripts import begin, make_checkout
    from test_scripts import start as start_script

    rng, begun, problems = random.Random(f"set-up {seed}"), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        program = make_checkout(Path(folder) / "whole") / "scripts" / "betafold-mlx"
        assert start_script(program).returncode == 0
        seconds = time.monotonic() - begun
        for number in range(kills):
            root = make_checkout(Path(folder) / str(number))
            process = begin(root / "scripts" / "betafold-mlx")
            time.sleep(moment := rng.uniform(0, seconds))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            again = start_script(root / "scripts" / "betafold-mlx")
            if (again.returncode, again.stdout) != (0, "arguments: []\n"):
                problems += 1
                print(f"  set-up kill after {moment:.3f} s: {again.stderr[-300:]}", flush=True)
            shutil.rmtree(root)
    print(f"{'set-up':<14} {kills:>7} {problems:>7} {time.monotonic() - begun:>8.0f}", flush=True)
    sys.exit(problems > 0)


@contextlib.contextmanager
def toys(names: list[str]) -> Iterator[tuple[Path, str]]:
    """Make a folder with the inputs of all commands, in another process: nothing is computed here before the forks."""
    folder = Path(tempfile.mkdtemp(prefix="faults"))
    subprocess.run([sys.executable, "-c", TOYS, folder], check=True, cwd=Path(__file__).parent)
    for n, name in enumerate(("a", "b")):
        record = {"id": name, "seq": "ACDEFGHIKLMNPQRST"[n:], "kind": "free"}
        atoms = [
            [3.8 * k + x, y, 0.0]
            for k in range(17 - n)
            for x, y in ((0, 0), (1.2, 0.8), (2.5, 0.0), (2.5, -1.2))
        ]
        with (folder / "x.jsonl").open("a") as file:
            file.write(json.dumps({**record, "backbone": [x for atom in atoms for x in atom]}) + "\n")
    rng = random.Random(0)
    letters = [f">p{n}\n{''.join(rng.choices('ACDEFGHIKLMNPQRSTVWY', k=8))}\n" for n in range(6)]
    (folder / "x.fasta").write_text("".join(letters))
    cluster = None
    if "fold-dask" in names:
        (folder / "cluster.py").write_text(DASK)
        cluster = subprocess.Popen(
            [sys.executable, folder / "cluster.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        assert cluster.stdout is not None
    try:
        yield folder, cluster.stdout.readline().strip() if cluster and cluster.stdout else ""
    finally:
        if cluster is not None:
            cluster.communicate("\n")
        shutil.rmtree(folder)


def main() -> None:
    """Print a table; exit with 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("commands", nargs="+", choices=[*COMMANDS, "all", "set-up"])
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--each", choices=["kill", *ERRORS])
    parser.add_argument("--disk", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.commands == ["set-up"]:
        set_up(given.kills, given.seed)
    names = list(COMMANDS) if "all" in given.commands else given.commands
    found = 0
    with toys(names) as (folder, address):
        for module in (
            "cli.main",
            "cli.fold",
            "train.loop",
            "train.side_chain_trainer",
            "generate.trainer",
            "distill.labels",
            "fold.predictor",
            "esm.convert",
            "data.build",
            "library.work",
        ):
            importlib.import_module(f"betafold_mlx.{module}")  # once, before the forks
        importlib.import_module("betafold_mlx.train.decoys").PEPTIDES = 4  # type: ignore[attr-defined]

        print(f"{'command':<14} {'faults':>7} {'failed':>7} {'seconds':>8}")
        for name in names:
            begun, series = time.monotonic(), Series(name, folder, address)
            if given.each:
                series.each(given.each)
            if given.kills:
                series.kills(given.kills, given.seed)
            if given.disk:
                series.disk(given.disk)
            print(
                f"{name:<14} {series.faults:>7} {len(series.problems):>7} {time.monotonic() - begun:>8.0f}",
                flush=True,
            )
            shutil.rmtree(series.out, ignore_errors=True)
            found += len(series.problems)
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
