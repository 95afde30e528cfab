"""The two start scripts, run for real in a small checkout whose package needs no network to install.

The scripts are those of the repository; the package beside them is a stand-in with a build backend of its own, so that
the real venv and the real pip work offline and in seconds.
"""

import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("betafold-mlx", "test", "_venv.sh", "_install.py")
BASH = shutil.which("bash") or "/bin/bash"

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "betafold-mlx"
version = "1"
"""

BACKEND = """\
import os, time, zipfile
from pathlib import Path

SCRIPTS = ["betafold-mlx = betafold_mlx:main"] + [
    f"{name} = betafold_mlx:tool" for name in ("ruff", "mypy", "shellcheck", "pytest")
]

def build_editable(folder, config_settings=None, metadata_directory=None):
    if Path("backend-fails").exists():
        raise SystemExit("error: the backend was told to fail")
    if Path("backend-waits").exists():
        Path("backend-started").touch()
        time.sleep(60)
    name, info = "betafold_mlx-1-py3-none-any.whl", "betafold_mlx-1.dist-info"
    needs = Path("test-needs").read_text() if Path("test-needs").exists() else ""
    with zipfile.ZipFile(Path(folder, name), "w") as wheel:
        wheel.writestr("checkout.pth", os.getcwd())
        metadata = "Metadata-Version: 2.1\\nName: betafold-mlx\\nVersion: 1\\nProvides-Extra: test\\n"
        wheel.writestr(f"{info}/METADATA", metadata + needs)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{info}/entry_points.txt", "\\n".join(["[console_scripts]", *SCRIPTS]))
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""

PACKAGE = """\
import os, sys
from pathlib import Path

OPENBLAS = False

def main():
    print("arguments:", sys.argv[1:])
    return int(os.environ.get("EXIT_CODE", 0))

def tool():
    name = Path(sys.argv[0]).name
    print(name, *sys.argv[1:], flush=True)
    return int(" ".join([name, *sys.argv[1:]]).startswith(os.environ.get("FAILING", "nothing")))
"""


def make_checkout(root: Path) -> Path:
    (root / "scripts").mkdir(parents=True)
    for name in SCRIPTS:
        shutil.copy(ROOT / "scripts" / name, root / "scripts" / name)
    (root / ".ci").mkdir()
    (root / ".ci" / "run").write_text("#!/usr/bin/env bash\n")
    (root / "pyproject.toml").write_text(PYPROJECT)
    (root / "backend.py").write_text(BACKEND)
    for package, text in (("betafold_mlx", PACKAGE), ("mlx", "")):
        (root / package).mkdir()
        (root / package / "__init__.py").write_text(text)
    (root / "mlx" / "core.py").write_text("")
    return root


def environment(**extra: str) -> dict[str, str]:
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "BETAFOLD_", "PYTHON"))
    }
    offline = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "BETAFOLD_PYTHON": sys.executable}
    return {**kept, **offline, **extra}


def start(
    program: Path, *arguments: str, cwd: Path | None = None, **extra: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, program, *arguments],
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=120,
    )


def begin(program: Path, **extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BASH, program],
        env=environment(**extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{condition} did not appear"
        time.sleep(0.01)


def programs(folder: Path, **scripts: str) -> str:
    """Make a folder of shell scripts for a PATH that holds nothing else, but what the start scripts may use."""
    folder.mkdir()
    for name in ("dirname", "readlink", "uname"):
        (folder / name).symlink_to(shutil.which(name) or f"/usr/bin/{name}")
    for name, text in scripts.items():
        path = folder / name.replace("_", ".")
        path.unlink(missing_ok=True)
        path.write_text(f"#!{BASH}\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(folder)


@pytest.fixture(scope="module")
def first_starts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str, str]]]:
    """Start twice at once in a fresh checkout, with a space in its path: what each start gave."""
    root = make_checkout(tmp_path_factory.mktemp("first") / "a checkout")
    both = [begin(root / "scripts" / "betafold-mlx") for _ in range(2)]
    outputs = [process.communicate(timeout=120) for process in both]
    return root, [(p.returncode, *output) for p, output in zip(both, outputs, strict=True)]


@pytest.fixture
def checkout(first_starts: tuple[Path, list[tuple[int, str, str]]]) -> Path:
    """Return the checkout with .venv made and up to date."""
    root, _ = first_starts
    assert start(root / "scripts" / "betafold-mlx").returncode == 0
    return root


def test_two_first_starts_at_once_install_once(first_starts: tuple[Path, list[tuple[int, str, str]]]) -> None:
    _, results = first_starts
    assert [(code, output) for code, output, _ in results] == [(0, "arguments: []\n")] * 2
    messages = "".join(error for _, _, error in results)
    assert messages.count("first start: making .venv and installing") == 1
    assert messages.count("installed in") == 1
    assert all(line.startswith("betafold-mlx: ") for line in messages.splitlines())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="OpenBLAS is a matter of Linux alone")
def test_the_first_start_tells_how_to_get_openblas(
    first_starts: tuple[Path, list[tuple[int, str, str]]],
) -> None:
    assert "".join(error for _, _, error in first_starts[1]).count("libopenblas0-pthread") == 1


def test_later_starts_run_no_other_program_and_say_nothing(checkout: Path, tmp_path: Path) -> None:
    program = checkout / "scripts" / "betafold-mlx"
    arguments = ("fold", "two words", "", "*")
    done = start(program, *arguments, PATH=str(tmp_path / "nothing-here"), EXIT_CODE="3")
    assert (done.returncode, done.stdout, done.stderr) == (3, f"arguments: {list(arguments)}\n", "")


def test_links_lead_to_the_checkout(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "absolute").symlink_to(checkout / "scripts" / "betafold-mlx")
    (tmp_path / "bin" / "relative").symlink_to("../absolute")
    for link, cwd in ((Path("bin/relative"), tmp_path), (Path("relative"), tmp_path / "bin")):
        done = start(link, "x", cwd=cwd)
        assert (done.returncode, done.stdout, done.stderr) == (0, "arguments: ['x']\n", "")


def test_changed_project_is_installed_again_once(checkout: Path) -> None:
    with (checkout / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    errors = [start(checkout / "scripts" / "betafold-mlx").stderr for _ in range(2)]
    assert "updating .venv" in errors[0]
    assert "OpenBLAS" not in errors[0]  # said at the first start
    assert errors[1] == ""


def test_failed_pip_is_one_line_and_the_next_start_mends_it(checkout: Path) -> None:
    with (checkout / "pyproject.toml").open("a") as project:
        project.write("# changed again\n")
    (checkout / "backend-fails").touch()
    try:
        done = start(checkout / "scripts" / "betafold-mlx")
    finally:
        (checkout / "backend-fails").unlink()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "betafold-mlx: updating .venv ..."
    (line,) = done.stderr.splitlines()[1:]
    assert line.startswith("betafold-mlx: pip install failed: ")
    assert line.endswith(f"(all it said: {checkout}/.venv/install.log)")
    assert "the backend was told to fail" in (checkout / ".venv" / "install.log").read_text()
    assert start(checkout / "scripts" / "betafold-mlx").returncode == 0


def test_test_tools_out_of_reach_leave_the_command_as_it_was(checkout: Path) -> None:
    for stamp in (checkout / ".venv").glob(".stamp-test"):
        stamp.unlink()
    (checkout / "test-needs").write_text("Requires-Dist: betafold-no-such-tool; extra == 'test'\n")
    try:
        tools = start(checkout / "scripts" / "test")
    finally:
        (checkout / "test-needs").unlink()
    assert tools.returncode == 1
    assert "betafold-no-such-tool" in tools.stderr.splitlines()[-1]
    command = start(checkout / "scripts" / "betafold-mlx")
    assert (command.returncode, command.stderr) == (0, "")


def test_ctrl_c_while_installing(checkout: Path) -> None:
    with (checkout / "pyproject.toml").open("a") as project:
        project.write("# and again\n")
    (checkout / "backend-waits").touch()
    process = begin(checkout / "scripts" / "betafold-mlx")
    try:
        wait_for(checkout / "backend-started", process)
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does
        output, error = process.communicate(timeout=60)
    finally:
        (checkout / "backend-waits").unlink()
        (checkout / "backend-started").unlink()
    assert (process.returncode, output) == (130, "")
    assert (
        error.splitlines()[-1] == "betafold-mlx: interrupted; the next start takes the installation up again"
    )
    assert not list((checkout / ".venv").glob(".stamp-*"))
    again = start(checkout / "scripts" / "betafold-mlx")
    assert (again.returncode, again.stdout) == (0, "arguments: []\n")


def test_what_was_killed_while_making_is_made_from_nothing(tmp_path: Path) -> None:
    root = make_checkout(tmp_path / "checkout")
    process = begin(root / "scripts" / "betafold-mlx")
    wait_for(root / ".venv" / "pyvenv.cfg", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    debris = root / ".venv" / "debris"
    debris.touch()
    done = start(root / "scripts" / "betafold-mlx")
    assert (done.returncode, done.stdout) == (0, "arguments: []\n")
    assert "first start" in done.stderr
    assert not debris.exists()
    assert (root / ".venv" / ".stamp-base").exists()
    assert not (root / ".venv" / ".unfinished").exists()


def test_venv_of_somebody_else_is_kept(tmp_path: Path) -> None:
    root = make_checkout(tmp_path / "checkout")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root / ".venv"], check=True)
    treasure = root / ".venv" / "treasure"
    treasure.touch()
    done = start(root / "scripts" / "betafold-mlx")
    assert (done.returncode, done.stdout) == (0, "arguments: []\n")
    assert treasure.exists()


def test_every_check_runs_and_failures_are_named(checkout: Path) -> None:
    program = checkout / "scripts" / "test"
    passed = start(program)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    lines = passed.stdout.splitlines()
    shell_files = "scripts/_venv.sh scripts/betafold-mlx scripts/test .ci/run"
    for ran in (
        "ruff check .",
        "ruff format --check .",
        "mypy",
        f"shellcheck --external-sources {shell_files}",
        "pytest --numprocesses auto --dist loadfile",
    ):
        assert ran in lines
    assert lines[-1].startswith("scripts/test: everything passed")

    failed = start(program, FAILING="ruff format")
    assert failed.returncode == 1
    assert (
        "pytest --numprocesses auto --dist loadfile" in failed.stdout.splitlines()
    )  # a failure does not hide what comes after it
    assert failed.stdout.splitlines()[-1] == "scripts/test: FAILED: ruff format"


def test_arguments_of_test_go_to_pytest_alone(checkout: Path) -> None:
    done = start(checkout / "scripts" / "test", "tests/test_x.py", "-k", "this or that", FAILING="pytest")
    assert done.stdout.splitlines() == ["pytest tests/test_x.py -k this or that"]
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("uname", "message"),
    [
        ("Darwin x86_64", "Apple silicon"),
        ("Linux riscv64", "x86_64 and aarch64 only, and this machine is riscv64"),
        ("MINGW64_NT-10.0 x86_64", "macOS and Linux only, and this is MINGW64_NT-10.0"),
    ],
)
def test_platforms_without_mlx(tmp_path: Path, uname: str, message: str) -> None:
    root = make_checkout(tmp_path / "checkout")
    system, machine = uname.split()
    fake = programs(tmp_path / "bin", uname=f"case $1 in -s) echo {system} ;; -m) echo {machine} ;; esac")
    done = start(root / "scripts" / "betafold-mlx", PATH=fake)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert done.stderr.startswith("betafold-mlx: ")
    assert done.stderr.count("\n") == 1
    assert not (root / ".venv").exists()


OLD = "echo 3.8"
BROKEN = "echo 'pyenv: python3: command not found' >&2; exit 127"
GOOD = '[[ "$2" == -c ]] && echo 3.12 || { echo "ran $1 ${2##*/} $4" >&2; exit 7; }'


@pytest.mark.parametrize(
    ("pythons", "chosen", "code", "message"),
    [
        (
            {},
            "",
            1,
            "needs Python 3.10 or newer, and none is on the PATH: install one, or set BETAFOLD_PYTHON to its path",
        ),
        ({"python3": BROKEN}, "", 1, "needs Python 3.10 or newer, and none is on the PATH"),
        ({"python3": OLD}, "", 1, "needs Python 3.10 or newer, and {bin}/python3 is 3.8: install one"),
        ({"python3": OLD, "python3_12": GOOD}, "", 7, "ran -I _install.py base"),
        ({"python3": BROKEN, "python3_10": GOOD}, "", 7, "ran -I _install.py base"),
        (
            {"python3": GOOD},
            "no-such-python",
            1,
            "BETAFOLD_PYTHON is 'no-such-python', which is not a Python 3 that starts",
        ),
        (
            {"python3": GOOD, "other": OLD},
            "other",
            1,
            "needs Python 3.10 or newer, and BETAFOLD_PYTHON ('other') is 3.8",
        ),
        ({"python3": OLD, "other": GOOD}, "{bin}/other", 7, "ran -I _install.py base"),
    ],
)
def test_which_python(tmp_path: Path, pythons: dict[str, str], chosen: str, code: int, message: str) -> None:
    root = make_checkout(tmp_path / "checkout")
    fake = programs(tmp_path / "bin", **pythons)
    done = start(root / "scripts" / "betafold-mlx", PATH=fake, BETAFOLD_PYTHON=chosen.format(bin=fake))
    assert (done.returncode, done.stdout) == (code, "")
    assert message.format(bin=fake) in done.stderr
    assert done.stderr.count("\n") == 1


# _install.py by itself: what cannot be had on the machine that runs the tests

spec = importlib.util.spec_from_file_location("_install", ROOT / "scripts" / "_install.py")
assert spec is not None and spec.loader is not None
installer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(installer)


@pytest.mark.parametrize(
    ("platform", "problem"),
    [
        (("Darwin", "arm64", "14.0", None), None),
        (("Darwin", "arm64", "26.1", None), None),
        (("Darwin", "arm64", "13.6.1", None), "macOS 14 or newer, and this is macOS 13.6.1"),
        (("Darwin", "x86_64", "15.1", None), "is one for Intel"),
        (("Linux", "x86_64", "", "glibc 2.35"), None),
        (("Linux", "aarch64", "", "glibc 2.41"), None),
        (
            ("Linux", "x86_64", "", "glibc 2.34"),
            "glibc 2.35 or newer (Debian 12, Ubuntu 22.04), and this is glibc 2.34",
        ),
        (("Linux", "x86_64", "", None), "without glibc"),
    ],
)
def test_platform_problem(platform: tuple[str, str, str, str | None], problem: str | None) -> None:
    found = installer.platform_problem(*platform)
    assert (found is None) if problem is None else (problem in found)


def test_this_machine_is_supported() -> None:
    installer.check_platform()


def test_missing_venv_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_checkout(tmp_path / "checkout")
    monkeypatch.setattr(installer, "find_spec", lambda name: None if name == "ensurepip" else object())
    assert installer.main(root, "base") == 1
    assert (
        "has no venv module: install it (on Debian and Ubuntu: apt-get install python3-venv)"
        in capsys.readouterr().err
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_checkout(tmp_path / "checkout")
    root.chmod(0o555)
    try:
        assert installer.main(root, "base") == 1
    finally:
        root.chmod(0o755)
    assert capsys.readouterr().err == f"betafold-mlx: cannot make {root}/.venv: Permission denied\n"


def test_venv_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make_checkout(tmp_path / "checkout")
    (root / ".venv").touch()
    assert installer.main(root, "base") == 1
    assert capsys.readouterr().err == f"betafold-mlx: cannot make {root}/.venv: File exists\n"


def test_copied_venv_and_vanished_python_are_spent(checkout: Path, tmp_path: Path) -> None:
    assert not installer.is_spent(checkout, checkout / ".venv")
    copy = tmp_path / "copy"
    shutil.copytree(checkout, copy, symlinks=True)
    assert installer.is_spent(copy, copy / ".venv")

    (copy / ".venv" / ".stamp-base").write_bytes(installer._head(copy, copy / ".venv"))
    (copy / ".venv" / ".stamp-test").unlink(missing_ok=True)
    assert not installer.is_spent(copy, copy / ".venv")
    (copy / ".venv" / "bin" / "python").unlink()
    (copy / ".venv" / "bin" / "python").symlink_to("python-that-was-upgraded-away")
    assert installer.is_spent(copy, copy / ".venv")


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "Collecting x\nERROR: first\nERROR: No matching distribution found for x\n[notice] new pip\n",
            "ERROR: No matching",
        ),
        (
            "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\nERROR: none found",
            "cannot be reached",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "no space left",
        ),
        ("Error: [Errno 13] Permission denied: '/x'\n", "Error: [Errno 13] Permission denied"),
        ("", "it said nothing"),
    ],
)
def test_reason_in_a_log(log: str, reason: str) -> None:
    assert reason in installer.failure(log)


BASH_4 = (
    r"\b(mapfile|readarray|coproc)\b|\b(declare|local) -[a-zA-Z]*[Anlu]|\$\{[^}]*(,,|\^\^|@[A-Z])|\|&|&>>"
)


@pytest.mark.parametrize("name", ["betafold-mlx", "test", "_venv.sh"])
def test_start_scripts_keep_to_bash_3(name: str) -> None:
    assert re.search(
        BASH_4, 'declare -A table; mapfile -t lines; echo "${x,,}"'
    )  # the pattern finds what it should
    assert not re.search(BASH_4, (ROOT / "scripts" / name).read_text())
