"""Side chains built from chi angles: against the table, biotite, gemmi, the CCD and native structures."""

from pathlib import Path

import biotite.structure as struc
import biotite.structure.info as info
import gemmi
import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.side_chains import (
    SLOTS,
    SideChains,
    base_of,
    build_side_chains,
    place_groups,
    place_side_chains,
    side_chains,
    turn_gradient,
)
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER

SHARED = Path(__file__).parents[3] / "shared" / "data" / "structures"
CODES = list(RESIDUES)


def build(codes: list[str], seed: int = 0) -> tuple[SideChains, mx.array, mx.array, mx.array]:
    """Return side chains, backbone, chi angles and phi of one chain of these residues, torsions at random."""
    rng = np.random.default_rng(seed)
    ids = mx.array([[ALPHABET.index(RESIDUES[code].parent) for code in codes]])
    torsions = mx.array(rng.uniform(-3, 3, (1, len(codes), 3)).astype(np.float32))
    backbone = build_backbone(torsions, ids)
    hands = np.array([-1.0 if RESIDUES[code].hand == "D" else 1.0 for code in codes], dtype=np.float32)
    # A chain of mixed hands has no ideal backbone here: each residue by itself is mirrored through the origin's plane.
    backbone = (
        backbone * mx.stack([mx.ones(len(codes)), mx.ones(len(codes)), mx.array(hands)], -1)[None, :, None]
    )
    chi = mx.array(rng.uniform(-3.1, 3.1, (1, len(codes), 18)).astype(np.float32))
    phi = torsions[..., 0] * mx.array(hands)
    return side_chains([codes], [True], len(codes)), backbone, chi, phi


@pytest.fixture(scope="module")
def built() -> tuple[SideChains, np.ndarray, np.ndarray]:
    chains, backbone, chi, phi = build(CODES)
    atoms = np.array(build_side_chains(backbone, chi, chains, phi))[0].astype(float)
    return chains, atoms, np.array(chi)[0]


def test_lengths_and_angles_of_every_residue_are_those_of_the_table(built):
    chains, atoms, chi = built
    for place, code in enumerate(CODES):
        kind = RESIDUES[code]
        at = dict(zip(chains.names[0][place], atoms[place], strict=False))
        pucker = 0 if (chi[place, 0] > 0) == (kind.hand != "D") else -1
        for row in kind.placements[pucker]:
            a, b, c, d = (at[name] for name in (row.great, row.grand, row.parent, row.atom))
            assert struc.distance(c, d) == pytest.approx(row.length, abs=1e-3), (code, row.atom)
            assert struc.angle(b, c, d) == pytest.approx(row.angle, abs=1e-3), (code, row.atom)
            points = [gemmi.Position(*map(float, point)) for point in (b, c, d)]
            assert gemmi.calculate_angle(*points) == pytest.approx(row.angle, abs=1e-3)
            wanted = row.torsion * (-1 if kind.hand == "D" else 1)
            if row.turn.startswith("chi"):
                wanted += chi[place, int(row.turn[3:]) - 1]
            elif row.turn == "phi":
                continue
            assert np.cos(struc.dihedral(a, b, c, d) - wanted) > 0.99999, (code, row.atom)


def test_bonds_close_the_rings_of_every_residue(built):
    chains, atoms, _ = built
    longest = {"I": 2.12, "SE": 1.98, "BR": 1.92, "S": 2.06, "P": 1.64, "CL": 1.75}
    for place, code in enumerate(CODES):
        kind = RESIDUES[code]
        at = dict(zip(chains.names[0][place], atoms[place], strict=False))
        for a, b, _ in kind.bonds:
            limit = max(longest.get(kind.elements[name].upper(), 1.57) for name in (a, b))
            assert 1.1 < np.linalg.norm(at[a] - at[b]) < limit, (code, a, b)


@pytest.mark.slow  # biotite reads the whole CCD first
@pytest.mark.filterwarnings("ignore:The coordinates are missing")
def test_names_bonds_and_hands_are_those_of_the_ccd():
    for code in CODES:
        kind, component = RESIDUES[code], info.residue(code, allow_missing_coord=True)
        heavy = {
            n for n, e in zip(component.atom_name, component.element, strict=True) if e not in ("H", "D")
        }
        assert set(kind.atoms) == heavy - {"OXT"}, code
        inside = {frozenset(pair) for pair in info.bonds_in_residue(code) if set(pair) <= set(kind.atoms)}
        assert {frozenset(bond[:2]) for bond in kind.bonds} == inside, code
        if kind.hand:
            at = dict(zip(component.atom_name, component.coord.astype(float), strict=True))
            n, c, cb = (at[name] - at["CA"] for name in ("N", "C", kind.cb))
            assert (np.cross(n, c) @ cb > 0) == (kind.hand == "L"), code


def test_a_d_residue_is_the_exact_mirror_image():
    l_codes = [THREE_LETTER[letter] for letter in ALPHABET if letter != "G"]
    names = {RESIDUES[code].name.removeprefix("d-"): code for code in CODES if RESIDUES[code].hand == "D"}
    d_codes = [names[RESIDUES[code].name.removeprefix("l-")] for code in l_codes]
    chains, backbone, chi, phi = build(l_codes)
    there = build_side_chains(backbone, chi, chains, phi)
    mirrored = mx.array(mirror_image(np.array(backbone)))
    d_chains = side_chains([d_codes], [True], len(d_codes))
    back = build_side_chains(mirrored, -chi, d_chains, -phi)
    np.testing.assert_allclose(mirror_image(np.array(there)), np.array(back), atol=2e-6)


def test_gradients_against_central_differences():
    chains, backbone, chi, phi = build(["ARG", "TRP", "MLE", "PRO", "ILE"])
    weight = mx.array(
        np.random.default_rng(1).normal(size=(1, 5, chains.mask.shape[-1], 3)).astype(np.float32)
    )
    weight = weight * chains.mask[..., None]

    def total(backbone: mx.array, chi: mx.array, phi: mx.array) -> mx.array:
        return (build_side_chains(backbone, chi, chains, phi) * weight).sum()

    arrays = [backbone, chi, phi]
    slopes = mx.grad(total, argnums=(0, 1, 2))(*arrays)
    for number, (array, slope) in enumerate(zip(arrays, slopes, strict=True)):
        step = np.random.default_rng(number).normal(size=array.shape).astype(np.float32)
        ahead, behind = (
            total(
                *(
                    each + sign * 1e-2 * mx.array(step) if k == number else each
                    for k, each in enumerate(arrays)
                )
            )
            for sign in (1, -1)
        )
        wanted = (ahead - behind).item() / 2e-2
        assert (slope * mx.array(step)).sum().item() == pytest.approx(wanted, rel=2e-3, abs=2e-2)
    # The same by torques, which is what the packing uses.
    frames = place_groups(base_of(backbone, phi), chi.transpose(2, 1, 0), chains)
    atoms = place_side_chains(frames, chi.transpose(2, 1, 0), chains)
    by_torques = turn_gradient(frames, chains, atoms, weight[:, :, SLOTS:].transpose(3, 2, 1, 0))
    wanted = slopes[1].transpose(2, 1, 0)[: len(by_torques)]
    np.testing.assert_allclose(np.array(by_torques), np.array(wanted), atol=1e-4)
    assert np.abs(np.array(wanted)).max() > 1


def test_a_residue_does_not_depend_on_its_company():
    chains, backbone, chi, phi = build(["SER", "ARG"])
    alone = side_chains([["SER"]], [False], 1)
    together = build_side_chains(backbone, chi, chains, phi)[:, :1, :6]
    np.testing.assert_array_equal(
        np.array(build_side_chains(backbone[:, :1], chi[:, :1, :1], alone, phi[:, :1])), np.array(together)
    )
    padded = side_chains([["SER"], ["SER", "ARG"]], [False, True], 4)
    assert np.array(padded.mask).sum(axis=(1, 2)).tolist() == [6, 6 + 12]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared")
def test_native_chi_angles_rebuild_native_side_chains():
    errors = []
    for path in sorted(SHARED.iterdir()):
        structure = gemmi.read_structure(str(path))
        for residue in structure[0][0]:
            kind = RESIDUES.get(residue.name)
            at = {atom.name: np.array(atom.pos.tolist()) for atom in residue if not atom.is_hydrogen()}
            if kind is None or not set(kind.atoms) <= set(at) or not kind.placements[0]:
                continue
            backbone = mx.array(
                np.stack([at[n] for n in ("N", "CA", "C", "O", kind.cb)])[None, None], mx.float32
            )
            torsions = [struc.dihedral(*(at[name] for name in chi)) for chi in kind.chi]
            if kind.parent == "P":
                torsions = [struc.dihedral(*(at[name] for name in ("N", "CA", "CB", "CG")))]
            chi = mx.array(np.array([[torsions]]), mx.float32)
            chains = side_chains([[residue.name]], [False], 1)
            rebuilt = np.array(build_side_chains(backbone, chi, chains, mx.zeros((1, 1))))[0, 0]
            native = np.array([at[name] for name in chains.names[0][0]])
            errors.append(np.sqrt(np.square(rebuilt - native)[5:].sum(-1).mean()))
    assert len(errors) > 400
    print(
        f"{len(errors)} side chains: RMSD {np.median(errors):.3f} A, 90 % within {np.quantile(errors, 0.9):.3f}"
    )
    assert (
        np.median(errors) < 0.2 and np.quantile(errors, 0.9) < 0.8
    )  # chi5 of Arg, angles of long side chains
