"""Two ranks of a command on this machine, started as ``mlx.launch`` does, but each in our own hands."""

import json
import os
import re
import socket
import subprocess
import sys


def free_addresses(count):
    """Ring addresses on ports that are free now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
    for listener in listeners:
        listener.close()
    return addresses


def start_ranks(folder, *commands):
    """Start one process a command, each a rank; return them."""
    hosts = folder / "ranks.json"
    hosts.write_text(json.dumps([[address] for address in free_addresses(len(commands))]))
    shared = {**os.environ, "MLX_HOSTFILE": str(hosts), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**shared, "MLX_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, command in enumerate(commands)
    ]


def ended(processes, seconds=300):
    """Wait for all; return (code, output, errors) of each, without what MLX's ring itself prints.

    That comes in pieces, the end of the line by itself: what we say may stand behind it in the same line.
    """
    results = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=seconds)
            assert "Traceback" not in err, err
            lines = [re.sub(r"^\[ring\].*?(?=betafold-mlx: |$)", "", line) for line in err.splitlines()]
            results.append((process.returncode, out, "\n".join(filter(None, lines))))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    return results


def run_ranks(folder, *commands, **options):
    """Start the ranks and wait for them."""
    return ended(start_ranks(folder, *commands, **options))
