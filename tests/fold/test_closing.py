"""Closing of stated bonds: its derivatives, its sulfurs, and what a bond may measure from aim to acceptance."""

import mlx.core as mx
import numpy as np
import oracles
import pytest
from synthetic import toy_model

from betafold_mlx.fold import closing, fitting, gradient
from betafold_mlx.fold.ensemble import fit
from betafold_mlx.fold.made_bonds import BRIDGE_TOLERANCES, bond_misfit
from betafold_mlx.fold.minimise import draw_starts
from betafold_mlx.fold.restraints import Bonds, restraints_from, ring_distances
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.checks import DISULFIDE_ANGLES, DISULFIDE_DISTANCE
from betafold_mlx.geometry.disulfides import (
    ACROSS,
    CB_SG,
    GRID,
    SG_SG,
    place_sulfurs,
    sulfur,
)
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide

RING = Peptide.of("CAGCPLCAACVGC", cyclic=True, disulfides=((1, 7), (4, 13)))


def bonds_of(peptides):
    inputs = collate(peptides)
    place, count = mx.arange(inputs.mask.shape[1]), inputs.mask.sum(axis=1)
    ring = [ring_distances(int(p.ids[-1]), int(p.ids[0])) if p.cyclic else (0.0,) * 4 for p in peptides]
    return Bonds(
        inputs.residues, inputs.mask, inputs.cyclic, mx.array(ring), count - 1,
        inputs.bonded & (place[None, :] > place[:, None]), any(p.cyclic for p in peptides), True,
    )  # fmt: skip


def random_angles(count, length, seed=0):
    rng = np.random.default_rng(seed)
    angles = rng.normal(size=(count, length, 4)) * [0.3, 1.0, 0.1, 1.0]
    return angles + np.array([-1.2, 0.0, np.pi, 0.0])


def test_derivatives_against_central_differences():
    bonds = bonds_of([RING, RING])
    angles = random_angles(2, bonds.mask.shape[1])
    constraints = closing._constraints_of(bonds)

    def misfits(angles):
        torsions = mx.array(angles[..., :3].astype(np.float32))
        backbone = np.array(build_backbone(torsions, bonds.residues, bonds.mask), np.float64)
        atoms = np.concatenate([backbone, sulfur(backbone, angles[..., 3])[:, :, None]], axis=2)
        return closing._linearise(atoms, constraints)

    slopes = misfits(angles)[1]
    for direction in np.random.default_rng(1).normal(size=(5, *angles.shape)):
        step = 1e-3 * direction
        wanted = (misfits(angles + step)[0] - misfits(angles - step)[0]) / 2e-3
        found = np.einsum("bkt,bt->bk", slopes, direction.reshape(2, -1))
        np.testing.assert_allclose(found[:, :-1], wanted[:, :-1], atol=0.05)  # float32 coordinates


def test_rings_and_disulfides_close_together():
    mx.random.seed(0)
    inputs, rows = collate([RING]), np.zeros(16, dtype=int)
    restraints = restraints_from(toy_model()(inputs), inputs)
    closed, misfit = fit(draw_starts(restraints, rows, np.arange(16), 0), restraints, rows)
    made = misfit <= 1
    assert made.sum() >= 4  # a network that knows nothing does not always find the way
    bonds = bonds_of([RING] * 16)
    atoms = np.array(build_backbone(mx.array(closed), bonds.residues, bonds.mask))[made]
    ends = np.linalg.norm(atoms[:, len(RING) - 1, 2] - atoms[:, 0, 0], axis=-1)
    np.testing.assert_allclose(ends, 1.336, atol=0.02)
    omega = torsion(atoms[:, len(RING) - 1, 1], atoms[:, len(RING) - 1, 2], atoms[:, 0, 0], atoms[:, 0, 1])
    np.testing.assert_allclose(np.sin(np.radians(omega)), 0.0, atol=0.02)
    for i, j in RING.disulfides:
        chi, _ = place_sulfurs(atoms[:, i - 1], atoms[:, j - 1])
        first, second = sulfur(atoms[:, i - 1], chi[:, 0]), sulfur(atoms[:, j - 1], chi[:, 1])
        np.testing.assert_allclose(np.linalg.norm(first - second, axis=-1), 2.05, atol=0.05)
        cb = atoms[:, i - 1, 4], atoms[:, j - 1, 4]
        turn = torsion(cb[0], first, second, cb[1])
        assert ((np.abs(turn) > 55) & (np.abs(turn) < 125)).all()


def test_what_turns_cost_is_their_angles_and_how_far_they_move_the_c_alphas():
    bonds, length = bonds_of([RING, RING]), 16
    angles, n = random_angles(2, length), len(RING)

    def ca_of(row, turned):
        torsions = (angles[row, :n, :3] + turned.reshape(n, 4)[:, :3]).astype(float)
        return oracles.build_backbone(torsions, RING.sequence)[:, 1]

    backbone = np.array(
        build_backbone(mx.array(angles[..., :3].astype(np.float32)), bonds.residues, bonds.mask)
    )
    freedom = closing._freedom(backbone.astype(np.float64), np.array(bonds.mask))
    for row in range(2):
        start = ca_of(row, np.zeros(4 * n))
        for turn in 1e-4 * np.random.default_rng(row).normal(size=(5, 4 * n)):
            rotation, shift, _ = oracles.kabsch(ca_of(row, turn), start)
            moved = ca_of(row, turn) @ rotation.T + shift - start
            ease = np.tile([1.0, 1.0, closing.OMEGA_STIFFNESS, 1.0], n)
            wanted = closing.SHAPE * np.square(moved).sum() + np.square(turn / ease).sum()
            padded = np.append(turn, np.zeros(4 * (length - n)))
            assert padded @ np.linalg.solve(freedom[row], padded) == pytest.approx(wanted, rel=0.02)


def test_a_chain_closes_where_it_lies(monkeypatch):
    """Bonds that are a little open close without moving the chain; by the fewest turns it would move far."""
    peptide = Peptide.of("ACAEKLAARCGGPSAACAEKLAARCA", False, ((2, 26), (10, 18)))
    bonds = bonds_of([peptide] * 12)
    count, n = 12, len(peptide)
    closed = None
    for seed in range(40):  # a chain with both bonds made
        start = np.array(random_angles(count, bonds.mask.shape[1], seed)[..., :3].astype(np.float32))
        found = closing.close_bonds(mx.array(start), bonds)
        made = bond_misfit(found, bonds) <= 1
        if made.any():
            closed = np.array(found)[int(np.argmax(made))]
            break
    assert closed is not None
    opened = closed + np.random.default_rng(1).normal(scale=0.05, size=(count, *closed.shape))

    def drift():
        again = closing.close_bonds(mx.array(opened.astype(np.float32)), bonds)
        made = bond_misfit(again, bonds) <= 1
        before, after = (
            np.array(build_backbone(t, bonds.residues, bonds.mask), np.float64)[:, :n, 1]
            for t in (mx.array(opened.astype(np.float32)), again)
        )
        assert made.sum() >= 8
        return np.mean([oracles.kabsch(a, b)[2] for a, b in zip(after[made], before[made], strict=True)])

    stays = drift()
    monkeypatch.setattr(closing, "SHAPE", 0.0)
    assert stays < 0.6 * drift()


def torsion(a, b, c, d):
    """Degrees."""
    m, n = np.cross(b - a, c - b), np.cross(c - b, d - c)
    y = np.linalg.norm(c - b, axis=-1) * ((b - a) * n).sum(-1)
    return np.degrees(np.arctan2(y, (m * n).sum(-1)))


def test_sulfurs_find_the_bond_that_a_backbone_was_made_for():
    """Two residues around an ideal disulfide, at both signs of chi3: their sulfurs come back."""
    rng = np.random.default_rng(3)
    torsions = mx.array(rng.uniform(-3, 3, (1, 2, 3)).astype(np.float32))
    residue = np.array(build_backbone(torsions, mx.array([[1, 1]])))[0, 0].astype(float)
    for wanted in (-90.0, 90.0, 75.0):
        chi = rng.uniform(-3, 3, 2)
        sg = sulfur(residue, chi[:1])[0]
        away = _placed(residue[1], residue[4], sg, SG_SG, np.arccos(_cosine()), chi[0] + 0.3)
        cb = _placed(residue[4], sg, away, CB_SG, np.arccos(_cosine()), np.radians(wanted))
        own = np.stack([sulfur(residue, chi[1:])[0], residue[4], residue[1]])
        there = np.stack([away, cb, _placed(sg, away, cb, 1.532, np.radians(114.4), 1.0)])
        second = _moved(residue, own, there)
        found, misfit = place_sulfurs(residue, second)
        assert np.abs(misfit).max() < 1e-3
        np.testing.assert_allclose(sulfur(second, found[1:])[0], away, atol=1e-2)


def _cosine():
    return (CB_SG**2 + SG_SG**2 - ACROSS**2) / (2 * CB_SG * SG_SG)


def _placed(a, b, c, length, angle, torsion):
    x = (c - b) / np.linalg.norm(c - b)
    z = np.cross(b - a, x)
    z /= np.linalg.norm(z)
    y = np.cross(z, x)
    out = np.cos(torsion) * y + np.sin(torsion) * z
    return c + length * (np.sin(angle) * out - np.cos(angle) * x)


def _moved(points, own, there):
    """Move points as a rigid body takes three of its points to others."""
    shift = own.mean(axis=0), there.mean(axis=0)
    u, _, v = np.linalg.svd((own - shift[0]).T @ (there - shift[1]))
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    return (points - shift[0]) @ turn + shift[1]


@pytest.mark.parametrize("which", ["distance", "angle"])
def test_what_closing_accepts_counts_as_formed(which):
    if which == "distance":
        low, high = SG_SG - BRIDGE_TOLERANCES[0], SG_SG + BRIDGE_TOLERANCES[0]
        assert DISULFIDE_DISTANCE[0] <= low < high <= DISULFIDE_DISTANCE[1]
    else:
        for across in (ACROSS - BRIDGE_TOLERANCES[1], ACROSS + BRIDGE_TOLERANCES[1]):
            cosine = (CB_SG**2 + SG_SG**2 - across**2) / (2 * CB_SG * SG_SG)
            assert DISULFIDE_ANGLES[0] < np.degrees(np.arccos(cosine)) < DISULFIDE_ANGLES[1]


def test_the_ranges_of_a_disulfide_lie_in_one_another():
    """Each step aims inside what the next one accepts: what is closed stays as it is."""
    low, high = closing.BRIDGE_CB
    assert low < fitting.DISULFIDE_CB[0] < gradient.BRIDGE_CB < fitting.DISULFIDE_CB[1] < high
    assert 3.8 < closing.BRIDGE_CA[0] < gradient.BRIDGE_CA[0] < gradient.BRIDGE_CA[1] < closing.BRIDGE_CA[1]
    assert closing.BRIDGE_CA[1] <= 6.8  # Hazes & Dijkstra 1988: 3.8 to 6.8


def test_a_prior_chooses_between_the_places_of_sulfurs():
    rng = np.random.default_rng(5)
    torsions = mx.array(rng.uniform(-3, 3, (1, 2, 3)).astype(np.float32))
    residue = np.array(build_backbone(torsions, mx.array([[1, 1]])))[0, 0].astype(float)
    moved = 0
    for _ in range(30):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        other = (residue - residue[4]) @ (q * np.sign(np.linalg.det(q)))
        way = rng.normal(size=3)
        other = other + residue[4] + 3.8 * way / np.linalg.norm(way)
        plain, _ = place_sulfurs(residue, other)
        assert np.allclose(place_sulfurs(residue, other, prior=np.zeros((2, len(GRID))))[0], plain)
        weak, strong = (-size * np.cos(GRID - plain[:, None]) for size in (1e-3, 50.0))  # anything but these
        assert np.allclose(place_sulfurs(residue, other, prior=weak)[0], plain)
        elsewhere, _ = place_sulfurs(residue, other, prior=strong)
        moved += bool(np.abs(np.angle(np.exp(1j * (elsewhere - plain)))).max() > 0.5)
    assert moved > 10
