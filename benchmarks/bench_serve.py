"""The server under load: clients that fold, and an endless mix of good, bad, slow and broken requests.

Clients and server share the machine, so the processor time of the server stands beside the wall-clock.
"""

from __future__ import annotations

import collections
import contextlib
import http.client
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from betafold_mlx.peptide.sequence import ALPHABET

CLIENTS, MAX_GROWTH = 8, 0.05  # of the server's memory over the second half: the first fills what it keeps
JSON = {"Content-Type": "application/json"}
FOLD, ATLAS = "/api/v1/fold", "/foldSequence/v1/pdb/"


class Running(NamedTuple):
    """A server in a process of its own."""

    port: int
    pid: int
    said: Path  # what it writes to stderr

    def usage(self) -> tuple[float, float]:
        """Return its processor time in seconds and its memory in MB."""
        said = subprocess.check_output(["ps", "-o", "time=,rss=", "-p", str(self.pid)], text=True)
        clock, memory = said.split()
        days, _, rest = clock.rpartition("-")
        seconds = 0.0
        for part in rest.split(":"):
            seconds = 60 * seconds + float(part)
        return 86400 * float(days or 0) + seconds, int(memory) / 1000

    def ask(
        self, method: str, path: str, body: str | bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Return the status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()

    def raw(self, *parts: bytes, wait: float = 0.0) -> bytes:
        """Send bytes, `wait` seconds apart, and return the first line of the answer: empty where none came."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
                    time.sleep(wait)
                return connection.makefile("rb").readline()
            except OSError:
                return b""

    def cut(self, *parts: bytes, wait: float = 0.0) -> None:
        """Send bytes, and leave without reading the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            for part in parts:
                connection.sendall(part)
            time.sleep(wait)


Request = Callable[[Running, random.Random], None]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "betafold_mlx", "serve", "--port", "0", "--model", "betafold-mini"]
    command += ["--batch-size", str(getattr(request, "param", 16))]
    with tempfile.NamedTemporaryFile("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
            yield Running(port, process.pid, Path(errors.name))
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def report(
    benchmark: BenchmarkFixture,
    seconds: list[float],
    wall: float,
    before: tuple[float, float],
    after: tuple[float, float],
) -> None:
    """Note rates, percentiles of the seconds of folds, processor time and memory."""
    ranks = statistics.quantiles(seconds, n=100)
    benchmark.extra_info |= {f"p{rank} ms": 1000 * ranks[rank - 1] for rank in (50, 90, 99)}
    benchmark.extra_info["folds a second"] = len(seconds) / wall
    benchmark.extra_info["processor ms a fold"] = 1000 * (after[0] - before[0]) / len(seconds)
    benchmark.extra_info["MB at half"], benchmark.extra_info["MB at the end"] = before[1], after[1]


@pytest.mark.benchmark(group=f"serve, {CLIENTS} clients, 10 to 30 residues, batches of at most 16 and of one")
@pytest.mark.parametrize("server", [16, 1], indirect=True)
def bench_serve(benchmark: BenchmarkFixture, server: Running, quick: bool) -> None:
    """Fold by `CLIENTS` clients at once, the page's path and that of the Atlas in turns; any error fails."""

    def client(seed: int) -> list[float]:
        draw, seconds = random.Random(seed), []
        for turn in range(2 if quick else 25):
            started = time.monotonic()
            (fold, atlas)[turn % 2](server, draw)
            seconds.append(time.monotonic() - started)
        return seconds

    def load(seed: int) -> list[float]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return [
                each
                for found in pool.map(client, range(CLIENTS * seed, CLIENTS * (seed + 1)))
                for each in found
            ]

    load(0)  # fills what the server keeps
    before, started = server.usage(), time.monotonic()
    seconds = benchmark.pedantic(load, (1,), rounds=1)
    after = server.usage()
    report(benchmark, seconds, time.monotonic() - started, before, after)
    assert quick or after[1] / before[1] - 1 < MAX_GROWTH


@pytest.mark.benchmark(group=f"serve, {CLIENTS} clients, good, bad, slow and broken requests")
def bench_serve_mixed(
    benchmark: BenchmarkFixture, server: Running, quick: bool, pytestconfig: pytest.Config
) -> None:
    """Send anything for ``--minutes``: each answer must have the status that is right for it, and never 500."""
    minutes = 0.1 if quick else pytestconfig.getoption("--minutes")
    counts: collections.Counter[str] = collections.Counter()
    seconds: list[float] = []
    wrong: list[str] = []
    usages: list[tuple[float, float]] = []
    middle, end = (time.monotonic() + 60 * minutes * share for share in (0.5, 1.0))
    lock = threading.Lock()

    def client(seed: int) -> None:
        draw = random.Random(seed)
        kind: Request = fold
        while (started := time.monotonic()) < end:
            try:
                kind(server, draw)
            except Exception as error:
                with lock:
                    wrong.append(f"{kind.__name__}: {error!r}"[:2000])
            with lock:
                counts[kind.__name__] += 1
                if kind in (fold, atlas) and (quick or started > middle):
                    seconds.append(time.monotonic() - started)
                if not usages and started > middle:
                    usages.append(server.usage())
            kind = draw.choice(draw.choice((GOOD, BAD)))

    def load() -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(client, range(CLIENTS)))

    benchmark.pedantic(load, rounds=1)
    report(benchmark, seconds, time.monotonic() - middle, usages[0], server.usage())
    benchmark.extra_info |= counts
    assert "Traceback" not in server.said.read_text(), server.said.read_text()[-5000:]
    assert not wrong, f"{len(wrong)} of {counts.total()}: {wrong[:10]}"
    growth = benchmark.extra_info["MB at the end"] / benchmark.extra_info["MB at half"] - 1
    assert quick or growth < MAX_GROWTH


# Requests: each checks its answer.


def sequence(draw: random.Random, low: int = 10, high: int = 30) -> str:
    return "".join(draw.choices(ALPHABET, k=draw.randint(low, high)))


def expect(answer: tuple[int, bytes], *statuses: int) -> bytes:
    """Check the status of an answer; a full queue is one too."""
    status, body = answer
    if status == 503 and b": try again " in body:
        return b""
    assert status in statuses, (status, body[:500])
    return body


def post(server: Running, path: str, document: object) -> tuple[int, bytes]:
    return server.ask("POST", path, json.dumps(document), JSON)


def fold(server: Running, draw: random.Random) -> None:
    asked = sequence(draw)
    if body := expect(post(server, FOLD, {"sequence": asked, "keep": True}), 200):
        assert json.loads(body)["result"]["sequence"] == asked


def atlas(server: Running, draw: random.Random) -> None:
    if body := expect(server.ask("POST", ATLAS, sequence(draw)), 200):
        assert body.rstrip().endswith(b"END")


def chemistry(server: Running, draw: random.Random) -> None:
    asked: dict[str, Any] = draw.choice(
        [
            {"sequence": "GRCTKSIPPICFPD", "cyclic": True, "disulfides": [[3, 11]], "samples": 5},
            {"sequence": "CYIQNCPLG", "disulfides": "auto", "c_cap": "NH2", "include": ["cif", "pdb"]},
            {"sequence": "Ac-Nle-Asp-His-D-Phe-Arg-Trp-Lys-NH2", "seed": draw.randrange(1000)},
            {"sequence": sequence(draw, 4, 9), "d_amino_acids": True},
        ]
    )
    expect(post(server, FOLD, asked), 200)


def page(server: Running, draw: random.Random) -> None:
    path = draw.choice(["/", "/docs", "/openapi.json", "/static/app.js", "/api/v1/info", "/api/v1/residues"])
    expect(server.ask("GET", path), 200)


def read(server: Running, draw: random.Random) -> None:
    change = {"place": 4, "residue": "D-Phe"}
    expect(post(server, "/api/v1/read", {"sequence": "cyclo(RGDFV)", "change": change}), 200)


def report_page(server: Running, draw: random.Random) -> None:
    """Give a peptide a hostile name: in its report and files it is text, and no path or header."""
    name = draw.choice(HOSTILE)
    body = expect(post(server, FOLD, {"sequence": sequence(draw, 8, 16), "id": name, "keep": True}), 200)
    for path in json.loads(body)["files"].values() if body else ():
        found = server.ask("GET", path)
        assert found[0] in (200, 404), found  # 404: others came after it
        assert b"<script>alert" not in found[1] or not path.endswith("html")


def batch(server: Running, draw: random.Random) -> None:
    fasta = f">{draw.choice(HOSTILE).splitlines()[0]}\n{sequence(draw)}\n>bad\nAB1\n"
    if "\0" in fasta:
        expect(post(server, "/api/v1/batches", {"fasta": fasta}), 422)
    elif body := expect(post(server, "/api/v1/batches", {"fasta": fasta}), 202):
        path = f"/api/v1/batches/{json.loads(body)['batch']}"
        expect(server.ask("GET", path), 200, 404)
        expect(server.ask("GET", path + "/results.zip"), 200, 404, 409)


HOSTILE = (
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "a\r\nSet-Cookie: x=1",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "CON",
    "\u202e\u0000x",
    "x" * 200,
)
GOOD = (fold, fold, fold, atlas, atlas, chemistry, page, read, report_page, batch)


def wrong_chemistry(server: Running, draw: random.Random) -> None:
    asked: object = draw.choice(
        [
            {"sequence": sequence(draw, 51, 60)},
            {"sequence": "GXZB1"},
            {"sequence": "GIG[NOSUCHTHING]KF"},
            {"sequence": "GIGKF", "cyclic": True, "n_cap": "ACE"},
            {"sequence": "GIGKF", "disulfides": [[1, 99]]},
            {"sequence": "GIGKF", "samples": 10**9},
            {"sequence": "GIGKF", "seed": 1e300},
            {"sequence": "GIGKF", "nosuch": "<script>alert(1)</script>"},
            {"sequence": "GIGKF\r\nX: y\x00", "id": "a"},
            {"sequence": ["GIGKF"]},
            {},
            [],
            None,
        ]
    )
    expect(post(server, FOLD, asked), 422)


def wrong_json(server: Running, draw: random.Random) -> None:
    body = draw.choice(
        [
            b'{"sequence": NaN}',
            b'{"sequence": "GIGKF", "seed": Infinity}',
            b'{"sequence": "\xff\xfe\xfa"}',
            b'{"sequence": "\\ud800"}',
            b"[" * 10_000,
            b"",
            b"\x00" * 100,
            bytes(draw.randrange(256) for _ in range(200)),
        ]
    )
    expect(server.ask("POST", FOLD, body, JSON), 400, 422)
    expect(server.ask("POST", FOLD, "sequence=GIGKF", {"Content-Type": "text/plain"}), 422)


def wrong_atlas(server: Running, draw: random.Random) -> None:
    body, status = draw.choice(
        [
            (b"", 400),
            (b"G" * 51, 413),
            (b"GIG", 422),
            (b"\xff\xfe\xfa\xfb", 422),
            (b"GIGKF../../etc/passwd", 422),
        ]
    )
    expect(server.ask("POST", ATLAS, body), status)


def huge(server: Running, draw: random.Random) -> None:
    for path, size in ((FOLD, 17 << 10), ("/api/v1/batches", 2 << 20)):
        with contextlib.suppress(ConnectionError):  # refused while the body was still being sent
            expect(server.ask("POST", path, b'"' + b"A" * size, JSON), 413)


def elsewhere(server: Running, draw: random.Random) -> None:
    path = draw.choice(
        [
            "/../../etc/passwd",
            "/static/../../pyproject.toml",
            "/static/%2e%2e/%2e%2e/etc/passwd",
            "/static//etc/passwd",
            "/static/..%5c..%5capp.py",
            "/api/v1/predictions/..%2f..%2fetc%2fpasswd/cif",
            "/api/v1/batches/../../etc/passwd",
            "/api/v1/batches/%00/results.zip",
            "/static/" + "a" * 5000,
        ]
    )
    expect(server.ask("GET", path), 404)


def wrong_headers(server: Running, draw: random.Random) -> None:
    headers, statuses = draw.choice(
        [
            ({"Host": "evil.example"}, (421,)),
            ({"Origin": "http://evil.example"}, (403,)),
            ({"Sec-Fetch-Site": "cross-site"}, (403,)),
            ({"Content-Encoding": "gzip"}, (400, 415, 422)),
            ({"Content-Type": "application/json; charset=utf-16"}, (200, 422)),
        ]
    )
    expect(server.ask("POST", FOLD, b'{"sequence": "GI"}', {**JSON, **headers}), *statuses)
    expect(server.ask("BREW", "/"), 403, 404, 405)


def wrong_http(server: Running, draw: random.Random) -> None:
    lines = draw.choice(
        [
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\nb\r\n\r\n",
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n" % FOLD.encode(),
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nGIGKF"
            % ATLAS.encode(),
            b"POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
            % ATLAS.encode(),
            b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
            b"GET /\x00 HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
            b"GET / HTTP/1.1\r\n\r\n",
        ]
    )
    answer = server.raw(lines + b"\r\n\r\n")
    assert answer == b"" or b" 4" in answer, answer


def broken(server: Running, draw: random.Random) -> None:
    """Leave: in the middle of a header or body, or while the peptide is being folded."""
    body = sequence(draw).encode()
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    server.cut(b"POST /api/v1/fo")
    server.cut(head % (ATLAS.encode(), 50) + body[:5])
    server.cut(head % (ATLAS.encode(), len(body)) + body, wait=draw.random() / 5)


def slow(server: Running, draw: random.Random) -> None:
    """Send a byte now and then, and the last one."""
    body = sequence(draw, 10, 12).encode()
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (ATLAS.encode(), len(body))
    answer = server.raw(*(bytes([each]) for each in head + body), wait=0.02)
    assert b" 200 " in answer or b" 503 " in answer, answer


BAD = (
    wrong_chemistry,
    wrong_json,
    wrong_atlas,
    huge,
    elsewhere,
    wrong_headers,
    wrong_http,
    broken,
    slow,
)
