import biotite.structure as struc
import chains
import mlx.core as mx
import numpy as np
import oracles
import pytest

from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import residue_ids
from betafold_mlx.structure.secondary import assign_secondary_structure, assign_secondary_structures, q3


def ca_trace(degrees, length):
    torsions = mx.broadcast_to(mx.array(np.radians(degrees).astype(np.float32)), (1, length, 3))
    return np.array(build_backbone(torsions, mx.array(residue_ids("A" * length)[None])))[0, :, 1]


def by_biotite(sequence, backbone):
    letters = struc.annotate_sse(chains.as_biotite(sequence, backbone))
    return "".join({"a": "H", "b": "E", "c": "C"}[letter] for letter in letters)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5])
def test_short_chains_are_coil(length):
    assert assign_secondary_structure(np.zeros((length, 3))) == "C" * length
    assert (
        assign_secondary_structure(ca_trace([-63.0, -42.0, 180.0], max(length, 1))[:length]) == "C" * length
    )


@pytest.mark.parametrize(
    ("degrees", "letter"), [((-63.0, -42, 180), "H"), ((-120.0, 130, 180), "E"), ((60.0, 30, 180), "C")]
)
def test_ideal_elements_are_recognised(degrees, letter):
    assigned = assign_secondary_structure(ca_trace(degrees, 16))
    assert len(assigned) == 16
    assert set(assigned[2:-3]) == {letter}
    assert set(assigned) <= {letter, "C"}


def test_shortest_helix_and_strand_have_eight_and_seven_residues():
    helix, strand = [-63.0, -42.0, 180.0], [-120.0, 130.0, 180.0]
    assert [("H" in assign_secondary_structure(ca_trace(helix, n))) for n in (7, 8)] == [False, True]
    assert [("E" in assign_secondary_structure(ca_trace(strand, n))) for n in (6, 7)] == [False, True]


def test_mirror_image_of_a_helix_fails_the_dihedral_but_not_the_distances():
    mirrored = ca_trace([-63.0, -42.0, 180.0], 16) * [1, 1, -1]
    assert set(assign_secondary_structure(mirrored)[2:-3]) == {"H"}  # P-SEA takes either criterion


@pytest.mark.parametrize("source", ["synthetic", "real"])
def test_assignment_is_that_of_biotite(source, request):
    known = chains.synthetic()
    if source == "real":
        known = chains.real(request.getfixturevalue("shared_data"), every=2, longest=500)
    seen = set()
    for sequence, backbone in known:
        assigned = assign_secondary_structure(backbone[:, 1])
        assert assigned == by_biotite(sequence, backbone)
        seen |= set(assigned)
    assert seen == set("HEC")


def test_a_residue_that_ends_a_helix_and_begins_a_strand_is_a_strand():
    junction = [[-73, -9, 180], [-101, 26, 180], [-16, 204, 176], [-148, 124, 182], [-83, 131, 182]]
    torsions = np.array([[-63, -42, 180]] * 6 + junction + [[-120, 130, 180]] * 5)
    torsions = mx.array(np.radians(torsions[None]).astype(np.float32))
    backbone = np.array(build_backbone(torsions, mx.zeros((1, 16), dtype=mx.int32)))[0, :, :4]
    assert assign_secondary_structure(backbone[:, 1]) == by_biotite("A" * 16, backbone) == "CHHHHHHEEEEEEECC"


def test_short_strands_need_neighbours():
    """Strands of three strict residues: alone they are coil, inside a sheet strands; biotite decides."""
    strand = ca_trace([-120.0, 130.0, 180.0], 6)
    rng = np.random.default_rng(0)
    seen = set()
    for offset in (4.8, 30.0):
        for _ in range(20):
            layers = [strand + [0, 0, offset * k] + rng.normal(size=(1, 3)) * 0.3 for k in range(3)]
            ca = np.concatenate([layers[0], layers[1][::-1], layers[2]]).astype(np.float32)
            backbone = np.repeat(ca[:, None], 4, axis=1)
            assigned = assign_secondary_structure(ca)
            assert assigned == by_biotite("A" * len(ca), backbone)
            seen.add((offset, "E" in assigned))
    assert (4.8, True) in seen
    assert (30.0, True) not in seen


def test_assignment_does_not_depend_on_the_frame():
    rng = np.random.default_rng(1)
    for _, backbone in chains.synthetic():
        ca = backbone[:, 1].astype(np.float64)
        moved = ca @ oracles.random_rotation(rng).T + 30.0
        assert assign_secondary_structure(moved) == assign_secondary_structure(ca)


def test_q3_counts_the_residues_that_agree():
    assert q3("HHEC", "HHEC") == 1.0
    assert q3("HHEC", "HEEC") == 0.75
    assert q3("H", "C") == 0.0
    for predicted, target in [("HH", "H"), ("", "")]:
        with pytest.raises(ValueError, match="residues"):
            q3(predicted, target)


def test_chains_of_different_lengths_together_are_as_one_by_one():
    rng = np.random.default_rng(0)
    chains = [ca_trace([-63.0, -42.0, 180.0], n) for n in (6, 12, 30)]
    chains += [ca_trace([-120.0, 130.0, 180.0], n) for n in (7, 25)]
    chains += [chain + rng.normal(scale=0.4, size=chain.shape) for chain in chains for _ in range(20)]
    chains += [chains[2][:n] for n in range(6)]
    assert assign_secondary_structures(chains) == list(map(assign_secondary_structure, chains))
    assert assign_secondary_structures([]) == []
