"""Make or update the checkout's ``.venv``: the part of the two start scripts that is not run every time.

``_venv.sh`` starts this when the stamp in ``.venv`` does not fit, with a Python of 3.10 or newer and nothing
installed, so it uses the standard library alone. What holds whatever happens (Ctrl-C, ``kill -9``, two starts
at once):

- one process at a time changes ``.venv``; the lock is the kernel's and ends with the last process holding it;
- while ``.venv`` is being changed there is no stamp, so a half-made one is never taken for a finished one;
- what was cut short while ``.venv`` was being made (``.unfinished`` lies there) is made again from nothing;
- a ``.venv`` made by somebody else is installed into, never deleted.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

REQUIREMENTS = {"base": ".", "test": ".[test]"}
INCLUDES = {"base": ["base"], "test": ["base", "test"]}  # the stamps that an install earns

# The oldest systems that MLX 0.32 has wheels for (by their tags: macosx_14_0, manylinux_2_35).
OLDEST_MACOS = (14, 0)
OLDEST_GLIBC = (2, 35)

LOCK, UNFINISHED, LOG = ".lock", ".unfinished", "install.log"


class InstallError(Exception):
    """What stopped the installation, in one line for the user."""


def say(message: str) -> None:
    """Print a line for the user; standard output belongs to the command that was started."""
    print(f"betafold-mlx: {message}", file=sys.stderr, flush=True)


def platform_problem(system: str, machine: str, macos: str, libc: str | None) -> str | None:
    """Say why MLX has no wheel for this platform, or None where it has one.

    Parameters
    ----------
    system, machine
        As ``uname`` gives them to this Python: under Rosetta the machine is ``x86_64``.
    macos
        Version of macOS, for example ``"14.5"``; empty elsewhere.
    libc
        For example ``"glibc 2.36"``; None where the C library is another one (musl).
    """
    if system == "Darwin":
        if machine != "arm64":
            return f"MLX needs a Python for Apple silicon, and {sys.executable} is one for Intel"
        if _version(macos) < OLDEST_MACOS:
            return f"MLX needs macOS {OLDEST_MACOS[0]} or newer, and this is macOS {macos}"
    elif libc is None or not libc.startswith("glibc"):
        return "MLX has no package for a Linux without glibc, such as Alpine: use Debian, Ubuntu or Fedora"
    elif _version(libc.split()[1]) < OLDEST_GLIBC:
        oldest = ".".join(map(str, OLDEST_GLIBC))
        return f"MLX needs glibc {oldest} or newer (Debian 12, Ubuntu 22.04), and this is {libc}"
    return None


def _version(text: str) -> tuple[int, ...]:
    """Return the first two numbers of a dotted version."""
    return tuple(int(part) for part in text.split(".")[:2])


def _libc() -> str | None:
    """Return ``"glibc 2.36"`` or the like; None for a C library that does not know the question."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        return None


def check_platform() -> None:
    """Raise where MLX has no wheel for the platform of this Python."""
    uname = platform.uname()
    problem = platform_problem(uname.system, uname.machine, platform.mac_ver()[0], _libc())
    if problem is not None:
        raise InstallError(problem)


def _stamp(venv: Path, kind: str) -> Path:
    return venv / f".stamp-{kind}"


def _head(root: Path, venv: Path) -> bytes:
    """Return how a stamp begins: where .venv stands, and the interpreter behind it."""
    return os.fsencode(f"{root}\n{os.path.realpath(venv / 'bin' / 'python')}\n")


def is_ready(root: Path, venv: Path, kind: str) -> bool:
    """Tell whether ``.venv`` holds what is asked for, as ``venv_is_ready`` of _venv.sh does."""
    if not (_runs(venv / "bin" / "python") and _runs(venv / "bin" / "betafold-mlx")):
        return False
    try:
        return _stamp(venv, kind).read_bytes() == _head(root, venv) + (root / "pyproject.toml").read_bytes()
    except FileNotFoundError:
        return False


def _runs(program: Path) -> bool:
    return os.access(program, os.X_OK)


def is_spent(root: Path, venv: Path) -> bool:
    """Tell whether a ``.venv`` of ours is past updating: cut short, copied, its Python gone."""
    if (venv / UNFINISHED).exists():
        return True
    stamps = [path.read_bytes() for kind in REQUIREMENTS if (path := _stamp(venv, kind)).exists()]
    fits = _runs(venv / "bin" / "python") and all(stamp.startswith(_head(root, venv)) for stamp in stamps)
    return bool(stamps) and not fits


def clear(venv: Path) -> None:
    """Empty ``.venv``, but for the lock, which is held, and the mark of the unfinished, which is true."""
    (venv / UNFINISHED).touch()
    for entry in venv.iterdir():
        if entry.name in (LOCK, UNFINISHED):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def locked(venv: Path) -> Iterator[int]:
    """Hold the lock of ``.venv``, waiting for another start to finish; yield its file descriptor."""
    descriptor = os.open(venv / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another start is installing: waiting for it to finish ...")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def install(root: Path, venv: Path, kind: str, lock: int) -> None:
    """Bring ``.venv`` to what is asked for, and stamp it."""
    started = time.monotonic()
    if is_spent(root, venv):
        clear(venv)
    new = (venv / UNFINISHED).exists() or not (venv / "pyvenv.cfg").exists()
    first = new or not any(_stamp(venv, each).exists() for each in REQUIREMENTS)
    had_base = is_ready(root, venv, "base")
    project = (
        root / "pyproject.toml"
    ).read_bytes()  # before pip reads it: a git pull may change it meanwhile
    say("first start: making .venv and installing (about a minute) ..." if new else "updating .venv ...")

    for each in REQUIREMENTS:
        _stamp(venv, each).unlink(missing_ok=True)
    try:
        _fill(root, venv, kind, lock, new)
        openblas = _check_import(venv)
    except InstallError:
        if had_base and _works(
            venv
        ):  # the tools of scripts/test could not be had: the command stays as it was
            _write_stamp(root, venv, "base", project)
        raise
    for each in INCLUDES[kind]:
        _write_stamp(root, venv, each, project)
    (venv / UNFINISHED).unlink(missing_ok=True)

    say(f"installed in {time.monotonic() - started:.0f} s")
    if first and not openblas and sys.platform.startswith("linux"):
        say(
            "MLX is several times slower without OpenBLAS, which is not on this machine: apt-get install "
            "libopenblas0-pthread (Debian, Ubuntu), dnf install openblas (Fedora), pacman -S openblas (Arch)"
        )


def _fill(root: Path, venv: Path, kind: str, lock: int, new: bool) -> None:
    """Make the virtual environment where it is new, and install the package."""
    python = venv / "bin" / "python"

    def run(step: str, *command: str | Path) -> None:
        _run(step, command, root, venv / LOG, lock)

    (venv / LOG).write_bytes(b"")
    if new:
        if find_spec("venv") is None or find_spec("ensurepip") is None:
            raise InstallError(
                f"{sys.executable} has no venv module: install it (on Debian and Ubuntu: apt-get install "
                "python3-venv), or set BETAFOLD_PYTHON to the path of another Python"
            )
        (venv / UNFINISHED).touch()
        run("making .venv", _base_python(), "-I", "-m", "venv", venv)
    elif not _runs(python):
        raise InstallError(f"{venv} is there but holds no working Python: delete it and start again")
    elif not any(venv.glob("lib/python3*/site-packages/pip")):
        run("installing pip", python, "-I", "-m", "ensurepip")
    run(
        *("pip install", python, "-I", "-m", "pip", "--disable-pip-version-check", "--no-input"),
        *("install", "--editable", REQUIREMENTS[kind]),
    )


def _base_python() -> str:
    """Return the interpreter outside any virtual environment: this one may be of the .venv just emptied."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _run(step: str, command: tuple[str | Path, ...], root: Path, log: Path, lock: int) -> None:
    """Run a command with its output in the log; raise with the line that tells why, where it fails."""
    # PIP_USER=0: with `user = true` in the user's configuration pip would refuse to install into .venv.
    environment = {**os.environ, "PIP_USER": "0"}
    with log.open("ab") as output:
        finished = subprocess.run(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(lock,),  # a pip that outlives this process (kill -9) goes on holding the lock
            check=False,
        )
    if finished.returncode != 0:
        raise InstallError(f"{step} failed: {failure(log.read_text(errors='replace'))} (all it said: {log})")


def failure(log: str) -> str:
    """Find the line of a log of pip or venv that says best why it failed."""
    if "No space left on device" in log:
        return "no space left on the disk"
    if "NewConnectionError" in log or "ConnectTimeoutError" in log or "NameResolutionError" in log:
        return "the package index cannot be reached; the first start needs a network"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    return (errors or lines or ["it said nothing"])[-1]


def _check_import(venv: Path) -> bool:
    """Import what was installed; return whether it found OpenBLAS."""
    found = subprocess.run(
        [venv / "bin" / "python", "-I", "-c", "import betafold_mlx, mlx.core; print(betafold_mlx.OPENBLAS)"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        last = (found.stderr.strip().splitlines() or [f"exit code {found.returncode}"])[-1]
        raise InstallError(f"the package was installed but does not start: {last}")
    return found.stdout.strip() == "True"


def _works(venv: Path) -> bool:
    """Tell whether the package starts, whatever became of the installation."""
    try:
        _check_import(venv)
    except InstallError:
        return False
    return True


def _write_stamp(root: Path, venv: Path, kind: str, project: bytes) -> None:
    partial = venv / f"{_stamp(venv, kind).name}.partial"
    partial.write_bytes(_head(root, venv) + project)
    partial.replace(_stamp(venv, kind))


def main(root: Path, kind: str) -> int:
    """Install unless another start just did; return the exit code."""
    venv = root / ".venv"
    try:
        check_platform()
        venv.mkdir(exist_ok=True)
        with locked(venv) as lock:
            if not is_ready(root, venv, kind):
                install(root, venv, kind, lock)
    except InstallError as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"cannot make {venv}: {error.strerror or error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next start takes the installation up again")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
