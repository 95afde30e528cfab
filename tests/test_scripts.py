"""The two start scripts, run for real in a small checkout whose package needs no network to install.

The scripts are those of the repository; the package beside them is a stand-in with a build backend of its own, so that
the real venv and the real pip work offline and in seconds.
"""

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
SCRIPTS = ("betafold-mlx", "test", "_venv.sh")
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
    for name in ("dirname", "mv", "readlink", "rm", "uname"):
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


@pytest.mark.slow
def test_two_first_starts_at_once_install_once(first_starts: tuple[Path, list[tuple[int, str, str]]]) -> None:
    _, results = first_starts
    assert [(code, output) for code, output, _ in results] == [(0, "arguments: []\n")] * 2
    messages = "".join(error for _, _, error in results)
    assert messages.count("first start: making .venv and installing") == 1
    assert messages.count("installed in") == 1
    assert all(line.startswith("betafold-mlx: ") for line in messages.splitlines())


@pytest.mark.slow
def test_later_starts_run_no_other_program_and_say_nothing(checkout: Path, tmp_path: Path) -> None:
    program = checkout / "scripts" / "betafold-mlx"
    arguments = ("fold", "two words", "", "*")
    done = start(program, *arguments, PATH=str(tmp_path / "nothing-here"), EXIT_CODE="3")
    assert (done.returncode, done.stdout, done.stderr) == (3, f"arguments: {list(arguments)}\n", "")


@pytest.mark.slow
def test_links_lead_to_the_checkout(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "absolute").symlink_to(checkout / "scripts" / "betafold-mlx")
    (tmp_path / "bin" / "relative").symlink_to("../absolute")
    for link, cwd in ((Path("bin/relative"), tmp_path), (Path("relative"), tmp_path / "bin")):
        done = start(link, "x", cwd=cwd)
        assert (done.returncode, done.stdout, done.stderr) == (0, "arguments: ['x']\n", "")


@pytest.mark.slow
def test_changed_project_is_installed_again_once(checkout: Path) -> None:
    with (checkout / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    errors = [start(checkout / "scripts" / "betafold-mlx").stderr for _ in range(2)]
    assert "updating .venv" in errors[0]
    assert errors[1] == ""


@pytest.mark.slow
def test_after_a_failed_pip_the_next_start_tries_again(checkout: Path) -> None:
    with (checkout / "pyproject.toml").open("a") as project:
        project.write("# changed again\n")
    (checkout / "backend-fails").touch()
    try:
        done = start(checkout / "scripts" / "betafold-mlx")
    finally:
        (checkout / "backend-fails").unlink()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "betafold-mlx: updating .venv ..."
    assert "the backend was told to fail" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("betafold-mlx: the installation failed; ")
    assert start(checkout / "scripts" / "betafold-mlx").returncode == 0


@pytest.mark.slow
def test_test_tools_out_of_reach_leave_the_command_as_it_was(checkout: Path) -> None:
    for stamp in (checkout / ".venv").glob(".stamp-test"):
        stamp.unlink()
    (checkout / "test-needs").write_text("Requires-Dist: betafold-no-such-tool; extra == 'test'\n")
    try:
        tools = start(checkout / "scripts" / "test")
    finally:
        (checkout / "test-needs").unlink()
    assert tools.returncode == 1
    assert "betafold-no-such-tool" in tools.stderr
    command = start(checkout / "scripts" / "betafold-mlx")
    assert (command.returncode, command.stderr) == (0, "")


@pytest.mark.slow
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
    assert not (checkout / ".venv" / ".stamp-base").exists()
    again = start(checkout / "scripts" / "betafold-mlx")
    assert (again.returncode, again.stdout) == (0, "arguments: []\n")


@pytest.mark.slow
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


@pytest.mark.slow
def test_venv_of_somebody_else_is_kept_and_a_moved_one_made_again(tmp_path: Path) -> None:
    root = make_checkout(tmp_path / "checkout")
    subprocess.run([sys.executable, "-m", "venv", root / ".venv"], check=True)
    treasure = root / ".venv" / "treasure"
    treasure.touch()
    done = start(root / "scripts" / "betafold-mlx")
    assert (done.returncode, done.stdout) == (0, "arguments: []\n")
    assert treasure.exists()

    moved = root.rename(tmp_path / "elsewhere")
    done = start(moved / "scripts" / "betafold-mlx")
    assert (done.returncode, done.stdout) == (0, "arguments: []\n")
    assert not (moved / ".venv" / "treasure").exists()


@pytest.mark.slow
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
        "pytest --numprocesses auto --dist loadfile -m not slow",
    ):
        assert ran in lines
    assert lines[-1].startswith("scripts/test: everything passed")

    failed = start(program, "--all", FAILING="ruff format")
    assert failed.returncode == 1
    # A failure does not hide what comes after it.
    assert "pytest --numprocesses auto --dist loadfile" in failed.stdout.splitlines()
    assert failed.stdout.splitlines()[-1] == "scripts/test: FAILED: ruff format"


@pytest.mark.slow
def test_arguments_of_test_go_to_pytest_alone(checkout: Path) -> None:
    done = start(checkout / "scripts" / "test", "tests/test_x.py", "-k", "this or that", FAILING="pytest")
    assert done.stdout.splitlines() == ["pytest tests/test_x.py -k this or that"]
    assert done.returncode == 1


@pytest.mark.parametrize("uname", ["Darwin x86_64", "Linux riscv64", "MINGW64_NT-10.0 x86_64"])
def test_platforms_without_mlx(tmp_path: Path, uname: str) -> None:
    root = make_checkout(tmp_path / "checkout")
    system, machine = uname.split()
    fake = programs(tmp_path / "bin", uname=f"case $1 in -s) echo {system} ;; -m) echo {machine} ;; esac")
    done = start(root / "scripts" / "betafold-mlx", PATH=fake)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr.startswith("betafold-mlx: MLX runs on ") and f"this is {system}-{machine}" in done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert not (root / ".venv").exists()


OLD = "exit 1"
BROKEN = "echo 'pyenv: python3: command not found' >&2; exit 127"
GOOD = '[[ "$*" == *version_info* ]] && echo "$0" || { echo "ran ${0##*/}" >&2; exit 7; }'


@pytest.mark.parametrize(
    ("pythons", "chosen", "message"),
    [
        ({}, "", "needs Python 3.10 or newer: install one, or set BETAFOLD_PYTHON to its path"),
        ({"python3": BROKEN}, "", "needs Python 3.10 or newer"),
        ({"python3": OLD}, "", "needs Python 3.10 or newer"),
        ({"python3": OLD, "python3_12": GOOD}, "", "ran python3.12"),
        ({"python3": BROKEN, "python3_10": GOOD}, "", "ran python3.10"),
        ({"python3": GOOD}, "none-such", "BETAFOLD_PYTHON is 'none-such', which is no Python 3.10 or newer"),
        ({"python3": GOOD, "other": OLD}, "other", "BETAFOLD_PYTHON is 'other', which is no Python 3.10"),
        ({"python3": OLD, "other": GOOD}, "{bin}/other", "ran other"),
    ],
)
def test_which_python(tmp_path: Path, pythons: dict[str, str], chosen: str, message: str) -> None:
    root = make_checkout(tmp_path / "checkout")
    fake = programs(tmp_path / "bin", **pythons)
    done = start(root / "scripts" / "betafold-mlx", PATH=fake, BETAFOLD_PYTHON=chosen.format(bin=fake))
    assert done.returncode != 0 and done.stdout == ""
    assert message in done.stderr


def test_uv_is_used_where_it_is(tmp_path: Path) -> None:
    root = make_checkout(tmp_path / "checkout")
    fake = programs(
        tmp_path / "bin", uv='echo "uv $*" >&2; exit 1', python3='[[ "$*" == *flock* ]] || echo "$0"'
    )
    done = start(root / "scripts" / "betafold-mlx", PATH=fake, BETAFOLD_PYTHON="")
    assert f"uv venv --quiet --seed --python {fake}/python3 {root}/.venv\n" in done.stderr
    assert done.stderr.splitlines()[-1] == f"betafold-mlx: cannot make {root}/.venv"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_checkout(tmp_path: Path) -> None:
    root = make_checkout(tmp_path / "checkout")
    root.chmod(0o555)
    try:
        done = start(root / "scripts" / "betafold-mlx")
    finally:
        root.chmod(0o755)
    assert (done.returncode, done.stderr) == (1, f"betafold-mlx: cannot write into {root}\n")


BASH_4 = (
    r"\b(mapfile|readarray|coproc)\b|\b(declare|local) -[a-zA-Z]*[Anlu]|\$\{[^}]*(,,|\^\^|@[A-Z])|\|&|&>>"
)


@pytest.mark.parametrize("name", ["betafold-mlx", "test", "_venv.sh"])
def test_start_scripts_keep_to_bash_3(name: str) -> None:
    assert re.search(
        BASH_4, 'declare -A table; mapfile -t lines; echo "${x,,}"'
    )  # the pattern finds what it should
    assert not re.search(BASH_4, (ROOT / "scripts" / name).read_text())
