"""Chains to look for templates in: windows, stretches, and what is rebuilt of them."""

import dataclasses

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import HELIX, STRAND
from template_helpers import library_of, random_sequence

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.pipeline import CHAIN_TEMPLATES, find_templates
from betafold_mlx.peptide.sequence import Peptide, residue_ids
from betafold_mlx.peptide.substitution import BLOSUM62
from betafold_mlx.templates import windows
from betafold_mlx.templates.chains import CIS, MARGIN, STEPS, STRETCHES, ChainLibrary
from betafold_mlx.templates.library import TemplateLibrary
from betafold_mlx.templates.stretches import cut_stretches
from betafold_mlx.templates.windows import best_windows


def chains_of(sequences, torsions=None, disulfides=(), cis=()):
    """Make a chain library; without torsions all is helix."""
    text = "".join(sequences)
    angles = np.tile(HELIX[:2], (len(text), 1)) if torsions is None else torsions
    residues = residue_ids(text).astype(np.uint8)
    residues[list(cis)] += CIS
    return ChainLibrary(
        names=tuple(f"1abc_{number}" for number in range(len(sequences))),
        offsets=np.cumsum([0] + [len(sequence) for sequence in sequences]).astype(np.int32),
        residues=residues,
        torsions=(np.round((angles + np.pi) * STEPS / (2 * np.pi)).astype(int) % STEPS).astype(np.uint8),
        disulfides=np.array(disulfides, np.int32).reshape(-1, 2),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_best_window_is_that_of_a_plain_search(seed):
    rng = np.random.default_rng(seed)
    sequences = [random_sequence(rng, 5, 60) for _ in range(int(rng.integers(1, 6)))]
    peptide = Peptide.of(random_sequence(rng, 8, 20))
    chains = chains_of(sequences)
    scores = {}
    for number, sequence in enumerate(sequences):
        for first in range(len(sequence) - len(peptide) + 1):
            window = residue_ids(sequence[first : first + len(peptide)])
            scores[number, first] = int(BLOSUM62[peptide.ids, window].sum())
    (found,) = chains.nearest([peptide])
    assert bool(found) == bool(scores) and len(found) <= STRETCHES
    if scores:
        number, first = max(scores, key=lambda place: (scores[place], -place[0], -place[1]))
        start, stretch = int(chains.offsets[number]), found[0]
        assert stretch.chain == number
        assert stretch.first == max(start, start + first - MARGIN)
        assert stretch.last == min(start + first + len(peptide) + MARGIN, int(chains.offsets[number + 1]))
    for stretch in found:
        assert (
            chains.offsets[stretch.chain] <= stretch.first < stretch.last <= chains.offsets[stretch.chain + 1]
        )


def test_windows_are_the_best_of_all_in_any_company(monkeypatch):
    """In pieces of any size, in the order of their scores and then of the chains; sums of int8 do not run over."""
    rng = np.random.default_rng(4)
    sequences = [random_sequence(rng, 4, 90) for _ in range(40)] + ["W" * 60]
    chains = chains_of(sequences)
    peptides = [Peptide.of(random_sequence(rng, 4, 50)) for _ in range(6)] + [Peptide.of("W" * 40)]
    for first, later in ((8, 64), (2048, 131_072)):
        monkeypatch.setattr(windows, "_FIRST_PIECE", first)
        monkeypatch.setattr(windows, "_PIECE", later)
        found = best_windows(chains.residues, chains.offsets, [peptide.ids for peptide in peptides])
        for peptide, rows in zip(peptides, found, strict=True):
            scored = []
            for number, sequence in enumerate(sequences):
                for place in range(len(sequence) - len(peptide) + 1):
                    window = residue_ids(sequence[place : place + len(peptide)])
                    score = int(BLOSUM62[peptide.ids, window].sum())
                    scored.append((-score, int(chains.offsets[number]) + place))
            assert rows.tolist() == [row for _, row in sorted(scored)[: windows.WINDOWS]]


def test_a_stretch_is_rebuilt_as_float64_does():
    rng = np.random.default_rng(2)
    sequence = random_sequence(rng, 40, 40)
    torsions = np.where(rng.random((40, 1)) < 0.5, HELIX[:2], STRAND[:2]) + rng.normal(size=(40, 2)) * 0.1
    chains = chains_of(
        ["A" * 30, sequence], np.concatenate([np.tile(HELIX[:2], (30, 1)), torsions]), cis=[50]
    )
    (library,) = cut_stretches(chains, [Peptide.of(sequence[10:30])])
    rows = library.rows(0)
    assert library.names[0] == "1abc_1:5-36" and library.sequence(0) == sequence[4:36]
    omega = np.full(32, np.pi)
    omega[16] = 0.0
    exact = np.concatenate([torsions[4:36], omega[:, None]], axis=1)
    built = oracles.build_backbone(exact, sequence[4:36])[:, 1]
    assert oracles.kabsch(library.ca[rows].astype(float), built)[2] < 0.25  # torsions to 0.7 degrees
    kept = library.torsions[rows].astype(float)
    assert np.isnan(kept[0, 0]) and np.isnan(kept[-1, 1:]).all()
    apart = np.abs(np.angle(np.exp(1j * (kept - exact))))
    assert np.nanmax(apart[:, :2]) < np.pi / STEPS + 2e-3 and abs(kept[16, 2]) < 1e-6


def test_a_disulfide_inside_a_stretch_stays_and_one_that_leaves_it_does_not():
    sequence = "G" * 20 + "ACDEFCHIKL" + "G" * 20 + "C" + "G" * 9
    chains = chains_of([sequence], disulfides=[(21, 25), (25, 50)])
    (library,) = cut_stretches(chains, [Peptide.of("ACDEFCHIKL")])
    first = library.names[0].split(":")[1].split("-")[0]
    partner = library.partner[library.rows(0)]
    place = 21 - (int(first) - 1)
    assert partner[place] == place + 4 and partner[place + 4] == place and (partner >= 0).sum() == 2


def test_a_library_with_chains_comes_back_from_its_file(tmp_path):
    chains = chains_of(["ACDEFGHIKLMNPQ" * 6], disulfides=[(1, 15)], cis=[3])
    library = dataclasses.replace(library_of(["GIGKFLHSAKKFGK"]), chains=chains)
    library.save(tmp_path / "a.safetensors")
    again = TemplateLibrary.load(tmp_path / "a.safetensors")
    assert again.chains.names == chains.names and again.fingerprint == library.fingerprint
    for name in ("offsets", "residues", "torsions", "disulfides"):
        np.testing.assert_array_equal(getattr(again.chains, name), getattr(chains, name))
    assert library.fingerprint != dataclasses.replace(library, chains=None).fingerprint
    assert again.subset(np.array([True])).chains is again.chains


def test_records_that_are_left_out_are_found_no_more():
    sequences = ["ACDEFGHIKLMNPQ" * 5, "GIGKFLHSAKKFGKAFVGEIMNS" * 3, "WYWYWHHKWYWY" * 6]
    chains = chains_of(sequences, disulfides=[(1, 15), (140, 145)], cis=[71])
    library = dataclasses.replace(library_of(["GIGKFLHSAKKFGK", "AAAAAAAAAA"]), chains=chains)
    less = library.without({"1abc_0", "0ABC_A"})
    assert less.names == ("1ABC_A",) and less.chains.names == ("1abc_1", "1abc_2")
    less.chains.check()
    assert less.chains.disulfides.tolist() == [[70, 75]] and less.chains.residues[1] >= CIS
    for peptide in (Peptide.of(sequences[1][10:30]), Peptide.of(sequences[2][3:23])):
        (found,) = cut_stretches(less.chains, [peptide])
        (expected,) = cut_stretches(library.chains, [peptide])
        assert found.names[0] == expected.names[0] and found.sequence(0) == expected.sequence(0)
        np.testing.assert_array_equal(found.ca[found.rows(0)], expected.ca[expected.rows(0)])
    (found,) = cut_stretches(less.chains, [Peptide.of("ACDEFGHIKLMN")])
    assert not any(name.startswith("1abc_0") for name in found.names)


@pytest.mark.parametrize(
    "damage",
    [
        {"offsets": np.array([0, 90], np.int32)},
        {"residues": np.full(84, 40, np.uint8)},
        {"disulfides": np.array([[1, 84]], np.int32)},
        {"torsions": np.zeros((84, 3), np.uint8)},
        {"names": (1,)},
    ],
)
def test_a_damaged_chain_library_is_refused(tmp_path, damage):
    chains = dataclasses.replace(chains_of(["ACDEFGHIKLMNPQ" * 6]), **damage)
    library = dataclasses.replace(library_of(["GIGKFLHSAKKFGK"]), chains=chains)
    library.save(tmp_path / "a.safetensors")
    with pytest.raises(BetafoldError, match="not a whole template library"):
        TemplateLibrary.load(tmp_path / "a.safetensors")


def test_stretches_stand_behind_what_is_trusted_and_no_chain_twice():
    rng = np.random.default_rng(5)
    peptide = Peptide.of("GIGKFLHSAKKFGKAFVGEIMNS")
    sequences = [
        random_sequence(rng, 40, 60) + peptide.sequence + random_sequence(rng, 40, 60) for _ in range(6)
    ]
    library = dataclasses.replace(library_of([peptide.sequence]), chains=chains_of(sequences))
    (hits,) = find_templates([peptide], library)
    assert hits[0].identity == 1 and len(hits) == 1 + CHAIN_TEMPLATES
    names = [hit.name.split(":")[0] for hit in hits]
    assert len(set(names)) == len(names)
    assert [hit.trust for hit in hits] == sorted((hit.trust for hit in hits), reverse=True)
    (distant,) = find_templates([peptide], library, 0.5)
    assert all(hit.identity <= 0.5 for hit in distant)
    assert (
        find_templates([Peptide.of("ACDEF" * 4)], dataclasses.replace(library, chains=chains_of(["ACDEF"])))[
            0
        ]
        == []
    )
