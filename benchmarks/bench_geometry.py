"""Backbones from torsions beside a loop, PeptideBuilder and MP-NeRF; superposition beside biotite and gemmi.

What works on one peptide at a time is measured on `ONE_BY_ONE` of them: compare times a peptide (``extra_info``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.superpose import rmsd

RESIDUES, ONE_BY_ONE, PAIRS = 30, 64, 1000
NERF, SUPERPOSE = (
    f"torsions to backbones of {RESIDUES} residues",
    f"RMSD of {PAIRS} pairs of {RESIDUES} residues",
)


def timed(benchmark: BenchmarkFixture, count: int, call: Callable[..., Any], *arguments: Any) -> Any:
    """Measure a call that makes so many structures."""
    found = benchmark(call, *arguments)
    if benchmark.stats is not None:  # with --benchmark-disable there is none
        benchmark.extra_info["microseconds a peptide"] = 1e6 * benchmark.stats.stats.median / count
    return found


@pytest.mark.benchmark(group=NERF)
@pytest.mark.parametrize("count", [1, 64, 4096])
def bench_backbones_ours(benchmark: BenchmarkFixture, count: int) -> None:
    rng = np.random.default_rng(0)
    torsions = mx.array(rng.uniform(-np.pi, np.pi, (count, RESIDUES, 3)).astype(np.float32))
    residues = mx.array(rng.integers(0, 20, (count, RESIDUES)).astype(np.int32))
    timed(benchmark, count, lambda: mx.eval(build_backbone(torsions, residues)))


@pytest.mark.benchmark(group=NERF)
def bench_backbones_loop(benchmark: BenchmarkFixture) -> None:
    torsions = np.random.default_rng(0).uniform(-np.pi, np.pi, (ONE_BY_ONE, RESIDUES, 3))
    timed(benchmark, ONE_BY_ONE, lambda: [chain(each) for each in torsions])


@pytest.mark.benchmark(group=NERF)
def bench_backbones_peptidebuilder(benchmark: BenchmarkFixture) -> None:
    builder = pytest.importorskip("PeptideBuilder")
    rng = np.random.default_rng(0)
    angles = rng.uniform(-180, 180, (ONE_BY_ONE, 3, RESIDUES)).tolist()
    letters = ["".join(row) for row in rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), (ONE_BY_ONE, RESIDUES))]
    jobs = list(zip(letters, angles, strict=True))
    timed(benchmark, ONE_BY_ONE, lambda: [builder.make_structure(s, *torsions) for s, torsions in jobs])


@pytest.mark.benchmark(group=NERF)
def bench_backbones_mp_nerf(benchmark: BenchmarkFixture, torch: Any) -> None:
    """All atoms: MP-NeRF has no backbone alone. What it needs of sequence and angles is looked up beforehand."""
    mp_nerf = pytest.importorskip("mp_nerf.proteins")
    rng = np.random.default_rng(0)
    jobs = []
    for letters in rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), (ONE_BY_ONE, RESIDUES)):
        angles = torch.tensor(rng.uniform(-np.pi, np.pi, (RESIDUES, 12)), dtype=torch.float32)
        angles[:, 3:6] = torch.tensor([1.94, 2.04, 2.12])  # of bonds, radians
        jobs.append(mp_nerf.build_scaffolds_from_scn_angles("".join(letters), angles))
    with torch.inference_mode():
        timed(benchmark, ONE_BY_ONE, lambda: [mp_nerf.protein_fold(**job) for job in jobs])


def chain(torsions: np.ndarray) -> np.ndarray:
    """Return N, CA, C, O and CB (L, 5, 3) of one peptide, one atom after another (Parsons et al. 2005)."""
    n, ca, c = np.array([-0.52, 1.36, 0.0]), np.zeros(3), np.array([1.525, 0.0, 0.0])
    residues = []
    for place, (phi, psi, _) in enumerate(torsions):
        if place:
            previous_psi, previous_omega = torsions[place - 1][1:]
            after = next_atom(n, ca, c, 1.329, 2.042, previous_psi)
            following = next_atom(ca, c, after, 1.458, 2.124, previous_omega)
            n, ca, c = after, following, next_atom(c, after, following, 1.525, 1.937, phi)
        oxygen, cb = next_atom(n, ca, c, 1.231, 2.108, psi + math.pi), next_atom(c, n, ca, 1.53, 1.93, 2.145)
        residues.append([n, ca, c, oxygen, cb])
    return np.array(residues)


def next_atom(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, bond: float, angle: float, torsion: float
) -> np.ndarray:
    """Return the atom at a bond, an angle and a torsion behind three others."""
    bc = c - b
    bc /= np.linalg.norm(bc)
    normal = np.cross(b - a, bc)
    normal /= np.linalg.norm(normal)
    along, across = -bond * math.cos(angle), bond * math.sin(angle)
    return c + along * bc + across * (math.cos(torsion) * np.cross(normal, bc) + math.sin(torsion) * normal)


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of structures, (PAIRS, 3 RESIDUES, 3) each, Angstrom."""
    rng = np.random.default_rng(0)
    first = np.cumsum(rng.normal(size=(PAIRS, 3 * RESIDUES, 3)), axis=1).astype(np.float32)
    return first, first + rng.normal(size=first.shape).astype(np.float32)


@pytest.mark.benchmark(group=SUPERPOSE)
def bench_superpose_ours(benchmark: BenchmarkFixture, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    first, second = map(mx.array, pairs)
    timed(benchmark, PAIRS, lambda: mx.eval(rmsd(first, second)))


@pytest.mark.benchmark(group=SUPERPOSE)
def bench_superpose_biotite(benchmark: BenchmarkFixture, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    structure = pytest.importorskip("biotite.structure")
    jobs = list(zip(*pairs, strict=True))
    found = timed(
        benchmark, PAIRS, lambda: [structure.rmsd(a, structure.superimpose(a, b)[0]) for a, b in jobs]
    )
    same_as_ours(found, pairs)


@pytest.mark.benchmark(group=SUPERPOSE)
def bench_superpose_gemmi(benchmark: BenchmarkFixture, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    import gemmi

    positions = [[[gemmi.Position(*p) for p in points] for points in part.tolist()] for part in pairs]
    jobs = list(zip(*positions, strict=True))
    found = timed(benchmark, PAIRS, lambda: [gemmi.superpose_positions(a, b).rmsd for a, b in jobs])
    same_as_ours(found, pairs)


def same_as_ours(found: list[float], pairs: tuple[np.ndarray, np.ndarray]) -> None:
    """Check a peer's RMSD: what is compared must be the same thing."""
    first, second = map(mx.array, pairs)
    np.testing.assert_allclose(np.array(found), np.array(rmsd(first, second)), atol=1e-3)
