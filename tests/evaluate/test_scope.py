"""Sequences without a fold, and the confidence in them."""

import re
from collections import Counter

import numpy as np
import pytest
from evaluate_helpers import HELIX_DEGREES, make_item, prediction_of
from synthetic import make_dataset

from betafold_mlx.data.store import Dataset
from betafold_mlx.evaluate.items import split_items
from betafold_mlx.evaluate.scope import (
    CONFIDENT,
    disordered_pieces,
    measure_scope,
    random_peptides,
    shuffled,
    shuffled_items,
)
from betafold_mlx.peptide.sequence import ALPHABET, TRAINED_LENGTHS, Peptide

DISORDERED = disordered_pieces()


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(chains=10, peptides=6)


class Helical:
    """Stands in for a `Predictor`: folds helices, half of their residues for sequences it does not know.

    Its first model has the confidence `known` for the sequences it knows, `unknown` for the others; the next less.
    """

    def __init__(self, items, known, unknown):
        self.sequences = {item.peptide.sequence for item in items}
        self.confidence = {True: known, False: unknown}

    def fold_many(self, peptides, samples, seed, atoms="all"):
        found = []
        for peptide in peptides:
            known = peptide.sequence in self.sequences
            degrees = np.tile(HELIX_DEGREES, (len(peptide), 1))
            degrees[: 0 if known else len(peptide) // 2] = -120, 130, 180
            helix = make_item(sequence=peptide.sequence, degrees=degrees).coordinates
            plddt = self.confidence[known] - 10.0 * np.arange(samples)
            found.append(prediction_of(peptide, np.repeat(helix[None], samples, axis=0), plddt))
        return found


def test_random_sequences_have_the_composition_and_lengths_of_training(dataset):
    text = "".join(record.sequence for record in dataset.records if record.split == "train")
    drawn = random_peptides(dataset, 3000, np.random.default_rng(0))
    sizes = [len(peptide) for peptide in drawn]
    shortest, longest = TRAINED_LENGTHS
    assert set(sizes) == set(range(shortest, longest + 1))
    assert np.mean(sizes) == pytest.approx((shortest + longest) / 2, abs=1)  # 4.4 standard errors
    seen, expected = Counter("".join(p.sequence for p in drawn)), Counter(text)
    for letter in ALPHABET:
        assert seen[letter] / sum(sizes) == pytest.approx(expected[letter] / len(text), abs=0.01)
    assert len({p.sequence for p in drawn}) == 3000 and not any(p.cyclic or p.disulfides for p in drawn)
    assert random_peptides(dataset, 5, np.random.default_rng(1)) == random_peptides(
        dataset, 5, np.random.default_rng(1)
    )


def test_residues_that_training_lacks_are_not_drawn():
    one = make_item(sequence="AAAAAAAAAACCCCC")
    record = make_dataset(chains=1, peptides=0).records[0]
    plain = Dataset(
        [type(record)(**{**vars(record), "sequence": one.peptide.sequence, "length": 15, "split": "train"})],
        one.coordinates, np.zeros((15, 3), np.float32), np.zeros((15, 3), bool),
    )  # fmt: skip
    drawn = "".join(p.sequence for p in random_peptides(plain, 50, np.random.default_rng(0)))
    assert set(drawn) == {"A", "C"} and drawn.count("A") > drawn.count("C")
    empty = Dataset([], one.coordinates[:0], np.zeros((0, 3), np.float32), np.zeros((0, 3), bool))
    assert random_peptides(empty, 5, np.random.default_rng(0)) == []


def test_shuffled_sequences_are_items_in_another_order(dataset):
    items = split_items(dataset, "test")
    fragments = [item.peptide.sequence for item in items if item.kind == "fragment"]
    every = shuffled_items(items, ["fragment"], 1000, np.random.default_rng(0))
    assert [sorted(p.sequence) for p in every] == [sorted(sequence) for sequence in fragments]
    assert sum(p.sequence == sequence for p, sequence in zip(every, fragments, strict=True)) == 0
    some = shuffled_items(items, ["fragment"], 4, np.random.default_rng(0))
    assert [sorted(p.sequence) for p in some] == [sorted(fragments[n]) for n in (0, 2, 5, 7)]
    peptides = [item for item in items if item.kind != "fragment"]
    assert shuffled_items(peptides, ["fragment"], 4, np.random.default_rng(0)) == []


def test_a_shuffled_peptide_keeps_its_chemistry():
    peptide = Peptide.of("GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)])
    for seed in range(20):
        other = shuffled(peptide, np.random.default_rng(seed))
        assert other.sequence != peptide.sequence and sorted(other.sequence) == sorted(peptide.sequence)
        assert other.sequence[2] == other.sequence[10] == "C"
        assert (other.cyclic, other.disulfides) == (True, peptide.disulfides)


def scope_of(dataset, items, predictor, **options):
    predictions = predictor.fold_many([item.peptide for item in items], options.get("samples", 1), 0)
    return measure_scope(predictor, dataset, items, predictions, 7, **options)


def test_a_model_that_knows_when_it_does_not_know(dataset):
    items = split_items(dataset, "test")
    said = []
    scope = scope_of(dataset, items, Helical(items, 90.0, 40.0), samples=3, say=said.append)
    sets = {entry["name"]: entry for entry in scope["sets"]}
    assert {name: entry["n"] for name, entry in sets.items()} == {
        "fragments": 10, "peptides": 6, "free peptides": 2, "random": 7,
        "shuffled fragments": 7, "shuffled free peptides": 2, "disordered": len(DISORDERED),
    }  # fmt: skip
    for name, entry in sets.items():
        real = name in ("fragments", "peptides", "free peptides")
        assert entry["mean_plddt"] == pytest.approx(90 if real else 40)  # of the first model alone
        assert entry["share_confident"] == float(real)
        assert entry["real_above"] == (0.5 if real else 1.0)
        assert (entry["helix_share"] > 0.7) == real
    assert scope["confident"] == CONFIDENT and any("shuffled" in line for line in said)
    for piece, entry in zip(DISORDERED, scope["disordered"], strict=True):
        assert {key: entry[key] for key in piece} == piece and not entry["seen"]
        assert len(entry["secondary_structure"]) == len(piece["sequence"]) and entry["mean_plddt"] == 40


def test_a_boastful_model_shows(dataset):
    items = split_items(dataset, "test")
    sets = {e["name"]: e for e in scope_of(dataset, items, Helical(items, 71.0, 95.0))["sets"]}
    assert sets["random"]["share_confident"] == sets["disordered"]["share_confident"] == 1
    assert sets["random"]["real_above"] == 0


def test_pieces_that_training_holds_are_marked(dataset):
    record = next(record for record in dataset.records if record.split == "train" and record.length >= 40)
    index = dataset.records.index(record)
    tau = next(piece for piece in DISORDERED if piece["name"].startswith("tau 244"))

    def with_sequence(text):
        records = list(dataset.records)
        records[index] = type(record)(**{**vars(record), "sequence": text})
        return type(dataset)(**{**vars(dataset), "records": records})

    items = split_items(dataset, "test")
    for shared, seen in ((10, True), (9, False)):
        body = tau["sequence"][5 : 5 + shared]
        assert body not in "".join(other.sequence for other in dataset.records)
        text = body + "W" * (record.length - shared)
        scope = scope_of(with_sequence(text), items, Helical(items, 90.0, 40.0))
        marked = [piece["name"] for piece in scope["disordered"] if piece["seen"]]
        assert marked == ([tau["name"]] if seen else [])


def test_the_seed_decides(dataset):
    items = split_items(dataset, "test")
    drawn = []

    class Watched(Helical):
        def fold_many(self, peptides, samples, seed, atoms="all"):
            drawn[-1].extend(peptide.sequence for peptide in peptides)
            return super().fold_many(peptides, samples, seed)

    for seed in (0, 0, 1):
        drawn.append([])
        scope_of(dataset, items, Watched(items, 90.0, 40.0), seed=seed)
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_disordered_pieces_are_what_their_names_say():
    for column in ("name", "sequence"):
        assert len({piece[column] for piece in DISORDERED}) == len(DISORDERED) == 25
    proteins = {}
    for name, sequence, source in (piece.values() for piece in DISORDERED):
        assert 12 <= len(sequence) <= 30 and Peptide.parse(sequence).sequence == sequence
        assert re.search(r"\((19|20)\d\d\)$", source)
        numbers = re.match(r"(.*) (\d+)-(\d+)", name)
        if numbers is None:
            assert source.startswith("designed")
            continue
        protein, first, last = numbers[1], int(numbers[2]), int(numbers[3])
        assert last - first + 1 == len(sequence)
        assert re.match(r"[A-Z][0-9A-Z]{5}(-\d)?; ", source)
        for place, letter in enumerate(sequence, start=first):
            assert proteins.setdefault((protein, place), letter) == letter
