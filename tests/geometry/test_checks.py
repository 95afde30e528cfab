"""Stated bonds in coordinates: which atoms are measured, and when a bond counts as formed."""

import gzip
import itertools
import json

import mlx.core as mx
import numpy as np
import pytest
from structure_helpers import half_turned, ideal

from betafold_mlx.geometry import build_backbone
from betafold_mlx.geometry.checks import (
    RING_DISTANCE,
    THROUGH,
    count_clashes,
    measure_bonds,
)
from betafold_mlx.geometry.disulfides import place_sulfurs
from betafold_mlx.peptide.sequence import Peptide, residue_ids


def coordinates(**atoms):
    """All atoms of CGGC far apart, but for those given as residue and atom: ``c4=(x, y, z)`` is C of residue 4."""
    names = ["n", "ca", "c", "o", "cb"]
    made = np.arange(60, dtype=np.float32).reshape(4, 5, 3) * 10
    for name, place in atoms.items():
        made[int(name[-1]) - 1, names.index(name[:-1])] = place
    return made


@pytest.mark.parametrize("distance", [RING_DISTANCE[0] - 0.005, 1.33, RING_DISTANCE[1] + 0.005])
def test_a_ring_is_closed_from_the_last_c_to_the_first_n(distance):
    (bond,) = measure_bonds(
        Peptide.of("CGGC", cyclic=True), coordinates(n1=(1, 2, 3), c4=(1, 2, 3 + distance))
    )
    assert (bond.kind, bond.residues, bond.formed) == ("ring", (1, 4), distance == 1.33)
    assert bond.distance == pytest.approx(distance, abs=1e-3)
    assert bond.describe() == f"head-to-tail bond, C-N {bond.distance:.2f} A, wanted 1.31 to 1.35"


@pytest.mark.parametrize(("further", "formed"), [(-1.5, False), (0.0, True), (1.5, False)])
def test_a_disulfide_is_measured_between_the_best_sulfurs(further, formed):
    peptide = Peptide.of("CGGC", disulfides=((1, 4),))
    model = coordinates()
    model[0] = ideal("CC", seed=0)[0, :5]
    model[3] = half_turned(model[0], further=further)
    (measured,) = measure_bonds(peptide, model)
    assert (measured.kind, measured.residues, measured.formed) == ("disulfide", (1, 4), formed)
    if formed:
        assert measured.distance == pytest.approx(2.04, abs=0.01)
        assert measured.describe() == f"disulfide 1-4, SG-SG {measured.distance:.2f} A, wanted 2.0 to 2.1"
        chi1 = np.zeros(4)
        chi1[[0, 3]], _ = place_sulfurs(model[0], model[3])
        assert measure_bonds(peptide, model, chi1) == (measured,)
        chi1[3] += 0.5
        (elsewhere,) = measure_bonds(peptide, model, chi1)
        assert not elsewhere.formed and abs(elsewhere.distance - measured.distance) > 0.1


def test_the_ring_comes_first_and_nothing_stated_is_nothing():
    both = measure_bonds(Peptide.of("CGGC", cyclic=True, disulfides=((1, 4),)), coordinates())
    assert [bond.kind for bond in both] == ["ring", "disulfide"] and not any(bond.formed for bond in both)
    assert measure_bonds(Peptide.of("CGGC"), coordinates()) == ()


RADII = {"N": 1.55, "CA": 1.70, "C": 1.70, "O": 1.52, "CB": 1.70}
NAMES = list(RADII)


def plain(coordinates, sequence, cyclic=False, disulfides=()):
    """Count by hand, one pair after the other; return whether the chain runs through itself too."""
    length, count, through = len(sequence), 0, False
    atoms = [(i, name) for i in range(length) for name in NAMES if name != "CB" or sequence[i] != "G"]
    for (i, a), (j, b) in itertools.combinations(atoms, 2):
        apart = min(j - i, length - (j - i)) if cyclic else j - i
        if apart < 2 or (a == b == "CB" and (i + 1, j + 1) in disulfides):
            continue
        allowed = 0.9 if {a, b} == {"N", "O"} else 0.5
        distance = np.linalg.norm(
            coordinates[i, NAMES.index(a)].astype(float) - coordinates[j, NAMES.index(b)]
        )
        count += distance < RADII[a] + RADII[b] - allowed
        through |= apart >= 3 and distance < THROUGH
    return count, through


def counted(coordinates, sequence, cyclic=False, disulfides=()):
    glycine = np.array([letter == "G" for letter in sequence])
    clashes, through = count_clashes(coordinates, glycine, cyclic, disulfides)
    return list(zip(clashes.tolist(), through.tolist(), strict=True))


@pytest.mark.parametrize("sequence", ["GACGKCGACCG", "ACDEFGHIC", "AGGG", "GGGGG"])
@pytest.mark.parametrize("cyclic", [False, True])
@pytest.mark.parametrize("bonded", [False, True])
def test_counts_are_those_of_a_loop(sequence, cyclic, bonded):
    cysteines = [place for place, letter in enumerate(sequence, start=1) if letter == "C"]
    disulfides = tuple(zip(cysteines[::2], cysteines[1::2], strict=False)) if bonded else ()
    rng = np.random.default_rng(0)
    # From crowded to roomy, at the origin and far from it, and with bonded CB on each other.
    clouds = rng.normal(size=(8, len(sequence), 5, 3)) * np.linspace(1, 6, 8)[:, None, None, None]
    clouds[4:] += 60.0
    for i, j in disulfides:
        clouds[:, i - 1, 4] = clouds[:, j - 1, 4] + 0.5
    clouds = clouds.astype(np.float32)
    want = [plain(cloud, sequence, cyclic, disulfides) for cloud in clouds]
    assert counted(clouds, sequence, cyclic, disulfides) == want
    assert len({count for count, _ in want}) > (2 if len(sequence) > 5 else 0)
    clouds[:, [letter == "G" for letter in sequence], 4] = np.nan  # as predictions have it
    assert counted(clouds, sequence, cyclic, disulfides) == want


def far_apart(length):
    """Atoms with 50 Angstrom and more between them."""
    return 50.0 * np.arange(length * 5, dtype=np.float64).reshape(length, 5)[..., None] * [1, 0, 0]


@pytest.mark.parametrize(
    ("residues", "distance", "cyclic", "want"),
    [
        ((0, 4), THROUGH - 0.01, False, (1, True)),
        ((0, 4), THROUGH + 0.01, False, (1, False)),  # too close, but no passage
        ((0, 4), 2.89, False, (1, False)),
        ((0, 4), 2.91, False, (0, False)),  # CA, CA: 1.7 + 1.7 - 0.5
        (
            (0, 2),
            1.0,
            False,
            (1, False),
        ),  # neighbours of neighbours clash, but a chain cannot run through there
        ((0, 1), 1.0, False, (0, False)),
        ((0, 7), 1.0, False, (1, True)),
        ((0, 7), 1.0, True, (0, False)),  # neighbours in a ring
        ((0, 6), 1.0, True, (1, False)),
        ((0, 5), 1.0, True, (1, True)),
    ],
)
def test_one_pair_at_a_known_distance(residues, distance, cyclic, want):
    cloud = far_apart(8)
    first, second = residues
    cloud[second, 1] = cloud[first, 1] + [0, distance, 0]
    assert counted(cloud[None], "A" * 8, cyclic) == [want]


def test_a_helix_has_room_and_a_chain_on_itself_has_none():
    torsions = np.tile(np.radians([-63.0, -42.0, 180.0]), (20, 1))
    circle = np.tile(np.radians([-60.0, 60.0, 0.0]), (20, 1))
    both = mx.array(np.stack([torsions, circle]).astype(np.float32))
    built = build_backbone(both, mx.array(np.tile(residue_ids("A" * 20), (2, 1))))
    (helix, knot) = counted(np.array(built), "A" * 20)
    assert helix == (0, False) and knot[0] > 20 and knot[1]


def test_real_structures_have_room(shared_data):
    shares, through = [], 0
    for name, step in (("peptides.jsonl.gz", 4), ("chains.jsonl.gz", 200)):
        with gzip.open(shared_data / name, "rt") as lines:
            records = [json.loads(line) for number, line in enumerate(lines) if number % step == 0]
        for record in records:
            backbone = np.array(record["backbone"], dtype=np.float32).reshape(-1, 4, 3)[:150]
            cloud = np.full((1, len(backbone), 5, 3), np.nan, dtype=np.float32)
            cloud[0, :, :4] = backbone - backbone.mean(axis=(0, 1))
            # The files have no CB, like glycine.
            ((clashes, crossing),) = counted(cloud, "G" * len(backbone), bool(record.get("cyclic")))
            shares.append(clashes / len(backbone))
            through += crossing
    assert len(shares) > 100 and np.mean(shares) < 0.01 and np.percentile(shares, 90) == 0
    assert through <= 0.01 * len(shares)
