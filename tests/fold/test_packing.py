"""Packing of side chains: contacts, the search against all combinations, clashes, given sulfurs, D residues."""

from functools import cache
from itertools import product

import mlx.core as mx
import numpy as np
import pytest
from structure_helpers import half_turned

from betafold_mlx.fold import packing, rotamer_candidates
from betafold_mlx.fold.packing import pack
from betafold_mlx.fold.registry import find_model
from betafold_mlx.fold.sterics import (
    CLASH,
    NEVER,
    POLAR,
    RADII,
    SAFE,
    WELL,
    contact_energy,
    contact_slope,
    contacts_of,
    squared_distances,
)
from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.side_chains import SLOTS, side_chains
from betafold_mlx.geometry.spread import mirror_image
from betafold_mlx.model.companions import SIDE_CHAINS
from betafold_mlx.model.directory import load_arrays
from betafold_mlx.model.rotamers import Rotamers
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import Peptide


@cache
def some_rotamers():
    """The rotamers of the bundled network."""
    arrays = load_arrays(find_model() / SIDE_CHAINS.file)
    rotamers = Rotamers()
    rotamers.start_from(
        *(np.array(arrays[f"rotamers.{name}"]) for name in ("centre", "concentration", "weight"))
    )
    return rotamers


HELIX = np.radians([-63.0, -42.0, 180.0])


def helix(peptide, length=None):
    torsions = mx.array(np.tile(HELIX, (1, len(peptide), 1)).astype(np.float32))
    made = np.array(build_backbone(torsions, mx.array(peptide.ids)[None]))
    return np.pad(made, [(0, 0), (0, (length or len(peptide)) - len(peptide)), (0, 0), (0, 0)])


def flat_weights(peptide, rotamers, length=None):
    weight = np.array(rotamers.weight)[peptide.ids]
    log = np.full((1, length or len(peptide), weight.shape[-1]), -1e5, dtype=np.float32)
    log[0, : len(peptide)] = np.where(weight > 0, np.log(np.maximum(weight, 1e-9)), -1e5)
    return log


def packed(peptide, rotamers, backbone=None, length=None):
    backbone = helix(peptide, length) if backbone is None else backbone
    return pack(
        [peptide], np.zeros(1, dtype=int), backbone, flat_weights(peptide, rotamers, length), rotamers
    )


def test_contacts_are_the_pairs_more_than_three_bonds_apart():
    peptide = Peptide.of("ACPWCK", disulfides=((2, 5),))
    chains = side_chains([peptide.residues], [True], 6)
    contacts = contacts_of([peptide], chains)
    atoms, bonds = {}, set()
    for place, (code, names) in enumerate(zip(peptide.residues, chains.names[0], strict=True)):
        for slot, name in enumerate(names):
            if name:
                atoms[place, name] = place * chains.mask.shape[-1] + slot
        bonds |= {frozenset(((place, a), (place, b))) for a, b, _ in RESIDUES[code].bonds}
        if place:
            bonds.add(frozenset(((place - 1, "C"), (place, "N"))))
    bonds |= {frozenset(((1, "SG"), (4, "SG"))), frozenset(((5, "C"), (5, "OXT")))}
    names = {number: atom for atom, number in atoms.items()}
    limit = np.array(contacts.limit)[0]
    places = np.array(contacts.atoms)[0].tolist()
    sides = contacts.side.shape[1]
    assert all((place % chains.mask.shape[-1] >= SLOTS) == (q < sides) for q, place in enumerate(places))
    assert len(set(places)) == len(places) == len(atoms)
    for q, a in enumerate(places):
        near = {names[a]}
        for _ in range(3):
            near |= {other for bond in bonds if bond & near for other in bond}
        for p, b in enumerate(places):
            first, second = names[a], names[b]
            if second in near or first[0] == second[0]:
                assert limit[q, p] == 0, (first, second)
                continue
            radii = [RADII[name[1][0]] for name in (first, second)]
            gives = any(
                name in RESIDUES[peptide.residues[place]].hydrogens for place, name in (first, second)
            )
            polar = gives and {first[1][0], second[1][0]} <= {"N", "O"}
            assert limit[q, p] == pytest.approx(sum(radii) - POLAR * polar - CLASH, abs=1e-5)


def test_the_energy_is_a_wall_and_a_well():
    d = mx.array(np.linspace(0.5, 8.0, 400).astype(np.float32))
    energy = np.array(contact_energy(mx.square(d), mx.full(d.shape, 1 / 3.5**2)))
    lowest = energy.argmin()
    assert energy[lowest] == pytest.approx(-WELL, abs=1e-3) and 3.4 < d[lowest].item() < 4.2
    assert (np.diff(energy[:lowest]) <= 1e-6).all() and (energy[np.array(d) > 5.0] == 0).all()
    assert (np.array(contact_energy(mx.square(d) + SAFE, mx.full(d.shape, NEVER))) == 0).all()


def test_squared_distances_are_those_of_the_points():
    a, b = (np.random.default_rng(k).normal(size=(2, 5 + k, 3)) * 10 for k in (0, 1))
    wanted = np.square(a[:, :, None] - b[:, None]).sum(-1)
    found = squared_distances(mx.array(a.astype(np.float32)), mx.array(b.astype(np.float32)))
    np.testing.assert_allclose(np.array(found) - SAFE, wanted, atol=1e-3)


def test_the_slope_of_the_energy_is_its_gradient():
    rng = np.random.default_rng(3)
    a, b = (mx.array(rng.uniform(-4, 4, size=(2, 6 + k, 3)).astype(np.float32)) for k in (0, 1))
    inverse = mx.array(np.where(rng.random((2, 6, 7)) < 0.3, NEVER, 1 / 3.3**2).astype(np.float32))
    gradient = mx.grad(lambda a: contact_energy(squared_distances(a, b), inverse).sum())(a)
    assert np.abs(np.array(gradient)).max() > 1
    np.testing.assert_allclose(np.array(contact_slope(a, b, inverse)), np.array(gradient), atol=2e-3)


def test_the_search_finds_the_best_of_all_combinations(monkeypatch):
    """Four residues with few rotamers each, in a helix: against the energies of all combinations."""
    rotamers = some_rotamers()
    peptide = Peptide.of("LAAFIAAL")
    monkeypatch.setattr(rotamer_candidates, "DRAWN", 3)
    monkeypatch.setattr(packing, "KEPT", 3)
    problems = []
    choose = packing._choose

    def recorded(problem, candidates):
        chosen = choose(problem, candidates)
        problems.append((problem, candidates, chosen))
        return chosen

    monkeypatch.setattr(packing, "_choose", recorded)
    packed(peptide, rotamers)
    ((problem, candidates, chosen),) = problems

    def energy(chi, cost):
        atoms = problem.build(chi).flatten(1, 2)
        contacts = problem.contacts
        every, sides = np.array(atoms)[0, np.array(contacts.atoms)[0]], contacts.side.shape[1]
        d = np.square(every[:sides, None] - every[None]).sum(-1)
        pairs = np.array(contact_energy(mx.array(d), contacts.inverse[0, :sides]))
        both = np.arange(len(every)) < sides
        return cost + (pairs * np.where(both, 0.5, 1.0)).sum()

    chi, cost = np.array(candidates.chi), np.array(candidates.cost)
    free = [place for place, letter in enumerate(peptide.sequence) if letter in "LFI"]
    totals = []
    for choice in product(range(3), repeat=len(free)):
        index = np.zeros(len(peptide), dtype=int)
        index[free] = choice
        every = np.arange(len(peptide))
        totals.append(energy(mx.array(chi[:, every, index]), cost[0, every, index].sum()))
    found = energy(chosen.chi[:, :, 0], float(np.array(chosen.cost).sum()))
    assert found <= min(totals) + 0.05 and max(totals) > min(totals) + 1.0


def test_side_chains_of_a_helix_do_not_clash():
    rotamers = some_rotamers()
    for sequence in ("WKLFIYRELMWKQFHVTNDS", "PAWGKCLLEAFKRWYHEQIM"):
        result = packed(Peptide.of(sequence), rotamers)
        assert result.clashes == [[]]
        assert (
            np.isfinite(result.atoms).all(axis=-1).sum()
            == sum(len(RESIDUES[code].atoms) for code in Peptide.of(sequence).residues) + 1
        )  # OXT


def test_what_has_no_room_is_named():
    """Two chains laid into each other."""
    peptide = Peptide.of("AWAAAAAAAWA")
    backbone = helix(peptide)
    backbone[0, 9:] += backbone[0, 1, 4] - backbone[0, 9, 4] + 0.3
    (clashes,) = packed(peptide, some_rotamers(), backbone).clashes
    assert any("TRP 2" in a + b and "TRP 10" in a + b for a, b in clashes)


def test_sulfurs_of_a_disulfide_are_given():
    peptide = Peptide.of("CAAAC", disulfides=((1, 5),))
    backbone = helix(peptide)
    backbone[0, 4] = half_turned(backbone[0, 0].astype(float))
    result = packed(peptide, some_rotamers(), backbone)
    distance = np.linalg.norm(result.atoms[0, 0, 5] - result.atoms[0, 4, 5])
    assert distance == pytest.approx(2.04, abs=0.01)
    # A network that holds this chi1 for all but impossible: the bond of a closed backbone stays all the same.
    weights, centre = flat_weights(peptide, some_rotamers()), np.array(some_rotamers().centre)[1, :3, 0]
    weights[0, [0, 4], :3] = -60 * (np.cos(centre - result.chi[0, [0, 4], :1]) > 0.5)
    arguments = [peptide], np.zeros(1, dtype=int), backbone, weights, some_rotamers()
    np.testing.assert_allclose(pack(*arguments).chi[0, [0, 4], 0], result.chi[0, [0, 4], 0], atol=1e-3)
    moved = pack(*arguments, closed=False).chi[0, [0, 4], 0] - result.chi[0, [0, 4], 0]
    assert np.abs(np.angle(np.exp(1j * moved))).max() > 0.3


def test_a_d_peptide_is_the_mirror_image():
    rotamers = some_rotamers()
    peptide, mirror = Peptide.of("WKLFPYRC"), Peptide.of("WKLFPYRC", d_amino_acids=True)
    ours = packed(peptide, rotamers)
    theirs = packed(mirror, rotamers, mirror_image(helix(peptide)))
    np.testing.assert_allclose(mirror_image(ours.atoms), theirs.atoms, atol=1e-3)
    np.testing.assert_allclose(ours.chi, -theirs.chi, atol=1e-3)


def test_a_structure_does_not_depend_on_its_company():
    rotamers = some_rotamers()
    short, long = Peptide.of("WKLFE"), Peptide.of("RRWWKLFPYRC")
    weights = np.concatenate([flat_weights(p, rotamers, 16) for p in (short, long)])
    backbone = np.concatenate([helix(p, 16) for p in (short, long)])
    together = pack([short, long], np.array([0, 1, 0]), backbone[[0, 1, 0]], weights[[0, 1, 0]], rotamers)
    alone = packed(short, rotamers, length=16)
    there = np.isfinite(alone.atoms[0])
    for row in (0, 2):
        slots = alone.atoms.shape[2]
        np.testing.assert_allclose(together.atoms[row, :, :slots][there], alone.atoms[0][there], atol=0.03)


@pytest.mark.parametrize("code", ["NLE", "ORN", "SEP", "MLE", "AIB", "HYP", "PTR", "DPN"])
def test_modified_residues_are_packed(code):
    peptide = Peptide.parse("AAAKAAAA", residues={4: code})
    result = packed(peptide, some_rotamers())
    assert np.isfinite(result.atoms[0, 3]).all(axis=-1).sum() == len(RESIDUES[code].atoms)
