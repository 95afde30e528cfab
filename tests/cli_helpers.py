"""The commands as objects, and the command line: in this process, in one of its own, and on a terminal."""

import contextlib
import io
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import click

from betafold_mlx.cli.main import cli, main

HEAVY = ("mlx", "numpy", "gemmi")


def commands(command=cli, parent=None, name="betafold-mlx"):
    """Yield the context of every command and group, the outermost first."""
    context = command.context_class(command, parent=parent, info_name=name, **command.context_settings)
    yield context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            yield from commands(command.get_command(context, child), context, child)


def leaves():
    """Return the contexts of the commands that do something."""
    return [context for context in commands() if not isinstance(context.command, click.Group)]


def run(*arguments, cwd="."):
    """Run a command here: exit code, standard output and error."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code, out.getvalue(), err.getvalue()
    finally:
        os.chdir(before)
    raise AssertionError("main always exits")


def command(*arguments):
    return [sys.executable, "-m", "betafold_mlx", *map(str, arguments)]


def run_process(*arguments, cwd=None, **more):
    """The same in a process of its own."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, cwd=cwd, **more)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def error_line(stderr):
    lines = stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("betafold-mlx: "), stderr
    return lines[0]


def on_terminal(arguments, cwd, stdout=None, columns="80", **environment):
    """Run a program with its output on a terminal; return its exit code and what the terminal got.

    Where `stdout` is given, it takes standard output; the terminal is standard error alone.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "LINES")
    }
    variables = {**kept, "TERM": "xterm-256color", "COLUMNS": columns, **environment}
    main, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=terminal if stdout is None else stdout,
        stderr=terminal,
    )
    os.close(terminal)
    text = read_terminal(main, lambda: process.poll() is not None)
    os.close(main)
    return process.wait(timeout=60), text


def read_terminal(main, done, seconds=120.0):
    """Return what comes from a terminal until `done()` and there is no more."""
    deadline, got = time.monotonic() + seconds, b""
    while time.monotonic() < deadline:
        ended = done()
        ready, _, _ = select.select([main], [], [], 0.05)
        try:
            chunk = os.read(main, 65536) if ready else b""
        except OSError:  # the other end is closed
            break
        if not chunk and ended:
            break
        got += chunk
    return got.decode().replace("\r\n", "\n")
