"""A load test of the server: started by ``scripts/load-test-serve``."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import click

from betafold_mlx.files import to_json
from betafold_mlx.peptide.sequence import ALPHABET

LENGTHS = (10, 30)
QUARTERS = 4
MOST_GROWTH = 0.05
"""Of the server's memory over the second half of the test. The first half fills what it keeps (200 predictions)."""


class Clients:
    """Threads that fold, and what they saw."""

    def __init__(self, port: int, pid: int, clients: int, folds: int) -> None:
        self._port, self._pid = port, pid
        self._clients, self._folds = clients, folds
        self._lock = threading.Lock()
        self.latencies: list[float] = []
        self.errors: list[str] = []
        self.memory: list[int] = []

    def run(self) -> float:
        """Fold, and return the seconds that it took."""
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(self._clients)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - started

    def _client(self, number: int) -> None:
        chance = random.Random(number)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
        for turn in range(self._folds):
            sequence = "".join(chance.choices(ALPHABET, k=chance.randint(*LENGTHS)))
            started = time.monotonic()
            try:
                error = _fold(connection, sequence, as_atlas=bool(turn % 2))
            except (OSError, http.client.HTTPException, ValueError) as failure:
                connection.close()
                error = repr(failure)
            self._note(time.monotonic() - started, error)
        connection.close()

    def _note(self, seconds: float, error: str) -> None:
        with self._lock:
            self.latencies.append(seconds)
            if error:
                self.errors.append(error)
            if len(self.latencies) % max(1, self._clients * self._folds // QUARTERS) == 0:
                self.memory.append(_memory(self._pid))


def _fold(connection: http.client.HTTPConnection, sequence: str, as_atlas: bool) -> str:
    """Fold a peptide, and return what is wrong with the answer; empty where all is well."""
    if as_atlas:
        connection.request("POST", "/foldSequence/v1/pdb/", sequence)
    else:
        body = json.dumps({"sequence": sequence, "keep": True})
        connection.request("POST", "/api/v1/fold", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read().decode()
    if response.status != 200:
        return f"{response.status}: {text[:200]}"
    whole = text.rstrip().endswith("END") if as_atlas else json.loads(text)["result"]["sequence"] == sequence
    return "" if whole else f"another answer than asked for: {text[:200]}"


def _memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout)


@click.command()
@click.option("--clients", type=click.IntRange(1, 16), default=8, show_default=True, help="At the same time.")
@click.option("--folds", type=click.IntRange(4), default=200, show_default=True, help="Of each client.")
@click.option("--model", default="betafold-mini", show_default=True, help="Model directory or name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(clients: int, folds: int, model: str, as_json: bool) -> None:
    """Start a server, put it under load, end it, and tell how it went."""
    command = [sys.executable, "-m", "betafold_mlx", "serve", "--port", "0", "--model", model]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().strip()
        if not address:
            raise click.ClickException("the server did not start")
        load = Clients(int(address.rstrip("/").rpartition(":")[2]), server.pid, clients, folds)
        seconds = load.run()
        server.send_signal(signal.SIGTERM)
        code = server.wait(60)
    finally:
        server.kill()
        server.wait()
    ranks = statistics.quantiles(load.latencies, n=100)
    half, end = load.memory[QUARTERS // 2 - 1], load.memory[QUARTERS - 1]
    growth = end / half - 1
    report = {
        "clients": clients,
        "folds": len(load.latencies),
        "errors": len(load.errors),
        "seconds": round(seconds, 1),
        "folds_a_second": round(len(load.latencies) / seconds, 2),
        "latency_ms": {f"p{rank}": round(1000 * ranks[rank - 1]) for rank in (50, 90, 95, 99)},
        "memory_mb": [round(each / 1e6, 1) for each in load.memory[:QUARTERS]],
        "growth_of_second_half": round(growth, 4),
        "exit_code": code,
    }
    for error in load.errors[:5]:
        click.echo(f"load-test-serve: {error}", err=True)
    if as_json:
        click.echo(to_json(report), nl=False)
    else:
        for name, value in report.items():
            click.echo(f"{name:<22} {value}")
    if load.errors or code or growth > MOST_GROWTH:
        sys.exit(1)


if __name__ == "__main__":
    main()
