"""Caps against a float64 oracle: lengths, angles, planes, the usual phi, and room."""

import gemmi
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_helpers import ideal, prediction

from betafold_mlx.peptide.sequence import ALPHABET
from betafold_mlx.structure.caps import CONTACT, crowded_caps, place_caps

SETTINGS = settings(derandomize=True, deadline=None, max_examples=60)


def chain(sequence, phi, psi):
    return oracles.build_backbone(np.tile(np.radians([phi, psi, 180.0]), (len(sequence), 1)), sequence)


def phi_of_first(sequence, atoms):
    """Return phi of residue 1 in degrees as ACE makes it."""
    (c, _, _), _ = place_caps(sequence, atoms, "ACE", None)
    return np.degrees(oracles.dihedral(c, *atoms[0, :3]))


def distances(cap, atoms):
    return np.linalg.norm(np.asarray(cap)[:, None] - np.asarray(atoms).reshape(-1, 3), axis=-1)


chains = st.tuples(st.text(ALPHABET, min_size=4, max_size=12), st.integers(0, 2**32 - 1))


def random_chain(sequence, seed):
    torsions = np.random.default_rng(seed).uniform(-np.pi, np.pi, (len(sequence), 3))
    torsions[:, 2] = np.pi
    return oracles.build_backbone(torsions, sequence)


@SETTINGS
@given(chains)
def test_ideal_geometry(given_chain):
    sequence, seed = given_chain
    atoms = random_chain(sequence, seed)
    (c, o, ch3), (nh2,) = place_caps(sequence, atoms, "ACE", "NH2")
    n, ca = atoms[0, :2]
    first, last = sequence[0], sequence[-1]
    ideal, angle, near = oracles.ideal, oracles.angle, {"abs": 1e-6}
    assert np.linalg.norm(c - n) == pytest.approx(ideal("C-N", first), **near)
    assert np.linalg.norm(c - o) == pytest.approx(ideal("C-O", "G"), **near)
    assert np.linalg.norm(c - ch3) == pytest.approx(ideal("CA-C", "G"), **near)
    assert angle(c, n, ca) == pytest.approx(ideal("C-N-CA", first), **near)
    assert angle(ch3, c, n) == pytest.approx(ideal("CA-C-N", "G", first), **near)
    assert angle(ch3, c, o) == pytest.approx(ideal("CA-C-O", "G", first), **near)
    assert abs(oracles.dihedral(ch3, c, n, ca)) == pytest.approx(np.pi, abs=1e-6)  # trans
    assert abs(oracles.dihedral(o, c, n, ca)) == pytest.approx(0.0, abs=1e-6)
    n, ca, c, o = atoms[-1, :4]
    assert np.linalg.norm(nh2 - c) == pytest.approx(ideal("C-N", "A"), **near)
    assert angle(ca, c, nh2) == pytest.approx(ideal("CA-C-N", last, "A"), **near)
    assert angle(o, c, nh2) == pytest.approx(2 * np.pi - angle(ca, c, nh2) - angle(ca, c, o), **near)
    across = oracles.dihedral(n, ca, c, nh2) - oracles.dihedral(n, ca, c, o)
    assert np.cos(across) == pytest.approx(-1.0, **near)


@pytest.mark.parametrize(
    ("sequence", "psi", "phi"),
    [
        ("AAAAAAAA", -42, -65),
        ("GAAAAAAA", -42, -65),
        ("AAAAAAAA", 130, -110),
        ("AAAAAAAA", -170, -110),
        ("PAAAAAAA", -42, -65),
        ("PAAAAAAA", 150, -65),
    ],
)
def test_phi_of_the_first_residue_is_the_usual_one(sequence, psi, phi):
    atoms = chain(sequence, -120.0 if abs(psi) > 50 else -63.0, psi)
    assert phi_of_first(sequence, atoms) == pytest.approx(phi, abs=1e-6)


@SETTINGS
@given(st.sampled_from("AGP"), st.integers(0, 2**32 - 1))
def test_the_cap_turns_away_from_what_is_in_its_way(first, seed):
    sequence = f"{first}AAAAAAA"
    atoms = chain(sequence, -63.0, -42.0)
    acetyl, _ = place_caps(sequence, atoms, "ACE", None)
    rng = np.random.default_rng(seed)
    step = rng.normal(size=3)
    atoms[5, 4] = acetyl[rng.integers(1, 3)] + 1.5 * step / np.linalg.norm(step)
    moved, _ = place_caps(sequence, atoms, "ACE", None)
    others = np.concatenate([atoms[0, 3:4], atoms[1:].reshape(-1, 3)])
    # Every phi in reach, by the oracle: where some have room the cap takes the nearest to the usual one of these.
    room = {}
    ideal = oracles.ideal
    o_angle = 2 * np.pi - ideal("CA-C-N", "G", first) - ideal("CA-C-O", "G", first)
    n, ca, c = atoms[0, :3]
    for phi in range(-85 if first == "P" else -160, -54, 5):
        at_c = oracles.place_atom(c, ca, n, ideal("C-N", first), ideal("C-N-CA", first), np.radians(phi))
        at_o = oracles.place_atom(ca, n, at_c, ideal("C-O", "G"), o_angle, 0.0)
        at_ch3 = oracles.place_atom(ca, n, at_c, ideal("CA-C", "G"), ideal("CA-C-N", "G", first), np.pi)
        room[phi] = distances([at_c, at_o, at_ch3], others).min()
    free = [phi for phi, distance in room.items() if distance >= CONTACT]
    if free:
        turned = phi_of_first(sequence, atoms)
        assert abs(turned + 65) == pytest.approx(min(abs(phi + 65) for phi in free), abs=1e-6)
        assert min(abs(turned - phi) for phi in free) < 1e-6
    else:
        assert distances(moved, others).min() == pytest.approx(max(room.values()), abs=1e-9)
    assert bool(crowded_caps(sequence, atoms, "ACE", None)) == (not free)


def test_the_cap_of_a_file_turns_away_from_a_side_chain():
    helix = ideal("AAAAAAAK")[None].astype(np.float32)
    p = prediction("AAAAAAAK", models=1, n_cap="ACE", coordinates=helix)

    def nearest():
        cap, *rest = gemmi.read_pdb_string(p.text("pdb"))[0][0]
        assert (cap.name, rest[-1].name) == ("ACE", "LYS")
        (nz,) = (atom.pos for atom in rest[-1] if atom.name == "NZ")
        return cap, min(atom.pos.dist(nz) for atom in cap)

    cap, _ = nearest()
    slot = p.atom_names[7].index("NZ")
    p.atoms[0, 7, slot] = 2 * np.array(cap["CH3"][0].pos.tolist()) - cap["C"][0].pos.tolist()
    assert nearest()[1] > 2.0  # 1.5 if it had not turned


@pytest.mark.parametrize(("name", "count"), [("FOR", 2), ("ACE", 3), ("MYR", 15)])
def test_acyl_caps_are_acetyls_with_more_or_fewer_carbons(name, count):
    atoms = chain("GAAAAAAA", -120.0, 130.0)
    acetyl, _ = place_caps("GAAAAAAA", atoms, "ACE", None)
    acyl, _ = place_caps("GAAAAAAA", atoms, name, None)
    assert acyl.shape == (count, 3)
    if name != "MYR":  # a longer one may have to turn away further
        np.testing.assert_array_equal(acyl, acetyl[:count])
        return
    tail = [atoms[0, 0], acyl[0], *acyl[2:]]  # N, C1, C2, ..., C14
    for a, b, c, d in zip(tail[0:], tail[1:], tail[2:], tail[3:], strict=False):
        assert abs(oracles.dihedral(a, b, c, d)) == pytest.approx(np.pi, abs=1e-6)
        assert np.linalg.norm(d - c) == pytest.approx(1.52, abs=1e-6)
        assert np.degrees(oracles.angle(b, c, d)) == pytest.approx(111.3, abs=1e-4)
    assert np.linalg.norm(tail[-1] - tail[1]) == pytest.approx(
        13 * 1.52 * np.sin(np.radians(111.3 / 2)), abs=0.5
    )


def test_methylamide_is_the_amide_with_a_methyl_trans_to_ca():
    atoms = chain("AAAAAAAG", -120.0, 130.0)
    _, (n, methyl) = place_caps("AAAAAAAG", atoms, None, "NME")
    np.testing.assert_array_equal(n, place_caps("AAAAAAAG", atoms, None, "NH2")[1][0])
    ca, c = atoms[-1, 1:3]
    assert abs(oracles.dihedral(ca, c, n, methyl)) == pytest.approx(np.pi, abs=1e-6)
    assert np.linalg.norm(methyl - n) == pytest.approx(oracles.ideal("N-CA", "A"), abs=1e-6)
    assert oracles.angle(c, n, methyl) == pytest.approx(oracles.ideal("C-N-CA", "A"), abs=1e-6)


def test_a_cap_without_room_is_told():
    sequence = "A" * 8
    atoms = chain(sequence, -63.0, -42.0)
    assert crowded_caps(sequence, atoms, "ACE", "NH2") == []
    _, amide = place_caps(sequence, atoms, "ACE", "NH2")
    atoms[5, 4] = atoms[0, 0] + 0.5 * (atoms[0, 0] - atoms[0, 1])  # beside N, wherever C goes
    atoms[4, 4] = amide[0] + [0.0, 0.0, 2.0]
    (ace,) = crowded_caps(sequence, atoms, "ACE", None)
    nearest = distances(place_caps(sequence, atoms, "ACE", None)[0], atoms[5, 4]).min()
    assert nearest < CONTACT and f"no room for the cap ACE: {nearest:.1f} A" in ace
    (nh2,) = crowded_caps(sequence, atoms, None, "NH2")
    assert "no room for the cap NH2: 2.0 A" in nh2
    assert crowded_caps(sequence, atoms, "ACE", "NH2") == [ace, nh2]
    assert crowded_caps(sequence, atoms, None, None) == []


@SETTINGS
@given(chains)
def test_caps_of_d_peptides_are_mirrored_to_the_last_bit(given_chain):
    sequence, seed = given_chain
    atoms = random_chain(sequence, seed)
    mirror = np.array([1.0, 1.0, -1.0])
    for cap, image in zip(
        place_caps(sequence, atoms, "ACE", "NH2"),
        place_caps(sequence, atoms * mirror, "ACE", "NH2", d_amino_acids=True),
        strict=True,
    ):
        np.testing.assert_array_equal(image, cap * mirror)


def test_a_missing_cb_is_no_obstacle():
    atoms = chain("AAAAAA", -63.0, -42.0)
    bare = atoms.copy()
    bare[:, 4] = np.nan
    for cap, other in zip(
        place_caps("AAAAAA", atoms, "ACE", "NH2"), place_caps("AAAAAA", bare, "ACE", "NH2"), strict=True
    ):
        np.testing.assert_array_equal(cap, other)
    assert crowded_caps("AAAAAA", bare, "ACE", "NH2") == []
