"""`betafold-mlx serve` as a user starts it: a process, its address, signals, exit codes."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading

import pytest

pytest.importorskip("fastapi", reason="serve needs fastapi and uvicorn: the extra serve")

from cli_helpers import command


@contextlib.contextmanager
def started(model, *arguments):
    """Yield a server that listens, and its port."""
    process = subprocess.Popen(
        command("serve", "--model", model, "--port", "0", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline()
        assert address.startswith("http://127.0.0.1:"), process.stderr.read()
        yield process, int(address.rstrip("/\n").rpartition(":")[2])
    finally:
        process.kill()
        process.communicate()


def fold(port, sent=lambda: None, **document):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        body = json.dumps({"sequence": "GRCTKSIPPICFPD", **document})
        connection.request("POST", "/api/v1/fold", body, {"Content-Type": "application/json"})
        sent()
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def info(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    with contextlib.closing(connection):
        connection.request("GET", "/api/v1/info")
        return json.loads(connection.getresponse().read())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_when_all_that_was_asked_is_answered(model, number):
    with started(model) as (process, port):
        answers = []
        sent = threading.Barrier(4)
        clients = [
            threading.Thread(
                target=lambda seed=seed: answers.append(fold(port, sent.wait, seed=seed, samples=20))
            )
            for seed in range(3)
        ]
        for client in clients:
            client.start()
        sent.wait(120)
        # connections are taken in their order: when this one is answered, those before are under way
        info(port)
        process.send_signal(number)
        for client in clients:
            client.join(120)
        assert [status for status, _ in answers] == [200, 200, 200]
        assert sorted(document["result"]["seed"] for _, document in answers) == [0, 1, 2]
        assert process.wait(120) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read().splitlines() == ["betafold-mlx: folding with toy; Ctrl-C ends it"]
        with pytest.raises(ConnectionRefusedError):
            fold(port)


def test_a_batch_is_stopped_at_the_end_and_that_is_told(model):
    with started(model) as (process, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        with contextlib.closing(connection):
            body = json.dumps({"fasta": ">a\nACDEFGHIKL\n" * 1000})
            connection.request("POST", "/api/v1/batches", body, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 202
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
        told = process.stderr.read().splitlines()[1:]
        assert (code, told) == (0, ["betafold-mlx: FASTA batches that were not finished: 1"])


def test_limits_are_those_of_the_options(model):
    with started(model, "--max-samples", "2", "--max-records", "7") as (_, port):
        status, document = fold(port, samples=3)
        assert status == 422 and "from 1 to 2" in document["error"]["message"]
        assert info(port)["limits"]["records"] == 7


def error_of(*arguments, **environment):
    done = subprocess.run(
        command("serve", *arguments),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    (line,) = done.stderr.splitlines()
    assert done.stdout == ""
    return done.returncode, line


def test_a_port_that_is_taken_is_told(model):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, line = error_of("--model", model, "--port", port)
    assert code == 1 and f"cannot listen on 127.0.0.1 port {port}" in line and "--port" in line


def test_what_cannot_be_is_told(model, tmp_path):
    code, line = error_of("--model", model, "--host", "no such host")
    assert code == 1 and "cannot listen on 'no such host'" in line
    code, line = error_of("--model", tmp_path / "nothing", "--port", "0")
    assert code == 1 and "no model directory" in line


def test_without_the_extra_it_says_how_to_get_it(model, tmp_path):
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('gone', name='fastapi')")
    code, line = error_of("--model", model, PYTHONPATH=str(tmp_path))
    assert code == 1 and line.endswith(
        "serve needs fastapi: install it with pip install 'betafold-mlx[serve]'"
    )
