"""Processors that the process may use, and memory that stays."""

import os
import subprocess
import sys

import pytest

from betafold_mlx._machine import usable_processors


def files(root, **contents):
    for path, text in contents.items():
        place = root / path.replace("__", "/").replace("cpu_", "cpu.")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


@pytest.fixture
def sixteen(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


@pytest.mark.parametrize(
    ("group", "limit", "count"),
    [
        ("0::/", "max 100000\n", 16),
        ("0::/", "200000 100000\n", 2),
        ("0::/", "150000 100000\n", 2),
        ("0::/", "5000 100000\n", 1),
        ("0::/", "broken\n", 16),
    ],
)
def test_a_quota_of_control_groups_2(sixteen, tmp_path, group, limit, count):
    files(tmp_path, proc__self__cgroup=group, sys__fs__cgroup__cpu_max=limit)
    assert usable_processors(tmp_path) == count


def test_the_smallest_quota_above_a_process_counts(sixteen, tmp_path):
    folder = tmp_path / "sys/fs/cgroup"
    (folder / "outer/inner").mkdir(parents=True)
    files(tmp_path, proc__self__cgroup="0::/outer/inner\n")
    for place, limit in (("", "800000"), ("outer", "300000"), ("outer/inner", "max")):
        (folder / place / "cpu.max").write_text(f"{limit} 100000\n")
    assert usable_processors(tmp_path) == 3


def test_without_control_groups_the_affinity_counts(sixteen, tmp_path):
    assert usable_processors(tmp_path) == 16


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS needs none of it")
@pytest.mark.parametrize(
    "setting", ["MALLOC_MMAP_THRESHOLD_=65536", "GLIBC_TUNABLES=glibc.malloc.arena_max=2"]
)
def test_memory_settings_of_the_user_stay(setting):
    name, value = setting.split("=", 1)
    code = "from betafold_mlx._machine import keep_freed_memory; print(keep_freed_memory())"
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=os.environ | {name: value}, text=True) == "False\n"
