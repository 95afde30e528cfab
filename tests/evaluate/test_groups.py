"""What items look like, and the medians of each class."""

import dataclasses

import numpy as np
import pytest
from evaluate_helpers import HELIX_DEGREES, make_item

from betafold_mlx.evaluate.groups import class_figures, class_items, is_hairpin, is_helical
from betafold_mlx.evaluate.structure_scores import score_structures
from betafold_mlx.structure.secondary import assign_secondary_structure

RISE, ZIGZAG, APART = 3.3, 0.9, 4.8


def strand(start, count, direction, y, phase=0):
    """CA atoms of a pleated strand along x: 3.3 Angstrom a residue."""
    steps = np.arange(count)
    pleat = ZIGZAG * (-1.0) ** (steps + phase)
    return np.stack([start + direction * RISE * steps, np.full(count, y), pleat], axis=1)


def hairpin(parallel=False, apart=APART, turn=4, count=6):
    """Two strands of six residues and a loop between, with three residues before: (CA, states)."""
    first = strand(0.0, count, 1, 0.0)
    end = first[-1, 0]
    start, direction, phase = (0.0, 1, 1) if parallel else (end, -1, count + 1)
    second = strand(start, count, direction, apart, phase)
    loop = np.stack(
        [end + 2.5 + np.sin(np.arange(turn)), np.linspace(0, apart, turn), 3 * np.cos(np.arange(turn))],
        axis=1,
    )
    head = np.array([[-9.0, 3, 0], [-6.5, 1, 2.5], [-3.5, 2, 0]])
    return np.concatenate([head, first, loop, second]), "C" * 3 + "E" * count + "C" * turn + "E" * count


def test_two_antiparallel_neighbours_are_a_hairpin():
    ca, states = hairpin()
    assert is_hairpin(ca, states)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    assert is_hairpin(ca @ turn + 40.0, states)


@pytest.mark.parametrize("changes", [{"parallel": True}, {"apart": 9.0}])
def test_parallel_or_distant_strands_are_none(changes):
    ca, states = hairpin(**changes)
    assert not is_hairpin(ca, states)


def test_one_strand_three_strands_or_a_helix_are_none():
    ca, states = hairpin()
    for changed in (
        states.replace("E", "C"),
        "C" * 3 + "E" * 6 + "C" * 10,
        "HHH" + states[3:],
        states[:5] + "C" + states[6:],  # three runs
        "E" * len(states),
    ):
        assert not is_hairpin(ca, changed)


def test_two_paired_residues_are_too_few():
    ca, _ = hairpin()
    assert not is_hairpin(ca, "C" * 7 + "EE" + "C" * 4 + "EE" + "C" * 4)
    assert is_hairpin(ca, "C" * 6 + "EEE" + "C" * 4 + "EEE" + "C" * 3)


def test_helical_is_half_or_more():
    assert is_helical("HHHCCC") and is_helical("HHHH") and not is_helical("HHCCC") and not is_helical("")


@pytest.fixture
def zoo():
    ca, _ = hairpin()
    assert assign_secondary_structure(ca).count("E") >= 8  # P-SEA sees the strands too
    pin = make_item(kind="fragment", length=len(ca))
    pin = dataclasses.replace(pin, coordinates=np.repeat(ca[:, None].astype(np.float32), 4, axis=1))
    knot = ((1, 5), (2, 6))
    return {
        "a": make_item(kind="fragment", length=10, seed=1),
        "b": pin,
        "c": make_item(kind="fragment", sequence="ACAAACAAAAAAAAAAAAAAAAAA", disulfides=((2, 6),)),
        "d": make_item(kind="free", degrees=HELIX_DEGREES, length=18),
        "e": make_item(kind="free", sequence="CCAACCAAAA", disulfides=knot, cyclic=True),
        "f": make_item(kind="free", sequence="CAAACAAAAA", disulfides=((1, 5),), seed=2),
        "g": make_item(kind="bound", degrees=HELIX_DEGREES, length=12, cyclic=True),
        "h": make_item(kind="mhc_bound", length=16, seed=3),
        "i": make_item(kind="segment", length=16, seed=3),
        "j": make_item(kind="free", length=32, seed=4),
    }


def test_classes(zoo):
    names = list(zoo)
    found = {
        name: "".join(names[index] for index in members)
        for name, members in class_items([*zoo.values()]).items()
    }
    assert found == {
        "fragments, linear": "ab",
        "fragments, one bridge": "c",
        "fragments, hairpin": "b",
        "fragments, 10-15 residues": "a",
        "fragments, 16-22 residues": "b",
        "fragments, 23-30 residues": "c",
        "peptides free, linear": "dj",
        "peptides free, cyclic": "e",
        "peptides free, one bridge": "f",
        "peptides free, disulfide-rich": "e",
        "peptides free, helical": "d",
        "peptides free, 10-15 residues": "ef",
        "peptides free, 16-22 residues": "d",
        "peptides free, 31-50 residues": "j",
        "peptides, linear": "dhj",
        "peptides, cyclic": "eg",
        "peptides, one bridge": "f",
        "peptides, disulfide-rich": "e",
        "peptides, helical": "dg",
        "peptides, 10-15 residues": "efg",
        "peptides, 16-22 residues": "dh",
        "peptides, 31-50 residues": "j",
    }
    assert class_items([]) == {}


def test_medians_of_every_method(zoo):
    items = [dataclasses.replace(item, cluster=n // 2) for n, item in enumerate(zoo.values())]
    rng = np.random.default_rng(0)
    structures = [item.coordinates + rng.normal(size=item.coordinates.shape) for item in items]
    bare = [np.where(np.arange(4)[:, None] == 1, structure, np.nan) for structure in structures]
    scores = {"model": score_structures(items, structures), "trace": score_structures(items, bare)}
    table = {entry["name"]: entry for entry in class_figures(items, scores)}
    peptides = [n for n, name in enumerate(zoo) if name in "dhj"]
    entry = table["peptides, linear"]
    assert (entry["n"], entry["clusters"]) == (3, 3)  # clusters 1, 3 and 4
    assert entry["rmsd_median"]["model"] == pytest.approx(np.median(scores["model"].rmsd[peptides]))
    assert np.isnan(entry["rmsd_median"]["trace"])
    assert table["peptides, 10-15 residues"]["clusters"] == 2  # items e and f share one
    assert all(entry["clusters"] is None for entry in class_figures(items, scores, clustered=False))
