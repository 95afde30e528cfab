import gzip

import numpy as np
import pytest
from distill_helpers import save_toy

from betafold_mlx.data.store import MAX_PEPTIDE, MIN_PEPTIDE, Dataset
from betafold_mlx.distill.labelling import Labelling
from betafold_mlx.distill.labels import from_mutants, from_sequences, label_sequences
from betafold_mlx.distill.sequences import Unlabelled, mutants, read_unlabelled
from betafold_mlx.distill.teacher import Label, Teacher
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import Peptide


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    return Teacher.load([save_toy(tmp_path_factory.mktemp("model") / "toy")])


FASTA = """>good
KLAKLAKKLAKLAKWW
>ring cyclic disulfides=3-11
GRCTKSIPPICFPD
>bad
KLAXLAKKLAKLAK
>short
KLAKLA
>mirror all-d
KLAKLAKKLAKLAK
>capped n-cap=ACE c-cap=NH2
GEWTYDDATKTFTVTE
>
WWKLAKLAKLAKLA
"""


def test_records_of_a_file_and_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "a.fasta.gz"
    path.write_bytes(gzip.compress(FASTA.encode()))
    found = {each.id: each for each in read_unlabelled(path)}
    assert list(found) == ["good", "ring", "bad", "short", "mirror", "capped", "record-7"]
    assert found["ring"].peptide == Peptide.of("GRCTKSIPPICFPD", True, ((3, 11),))
    assert found["bad"].peptide is None and "'X' at position 4" in found["bad"].problem
    assert f"6 residues: peptides of {MIN_PEPTIDE} to {MAX_PEPTIDE} are trained on" in found["short"].problem
    assert found["mirror"].peptide is None and found["mirror"].problem
    assert found["good"].peptide == Peptide.of("KLAKLAKKLAKLAKWW") and not found["good"].problem
    assert found["capped"].peptide == Peptide.of("GEWTYDDATKTFTVTE")
    with pytest.raises(BetafoldError, match="cannot read"):
        list(read_unlabelled(tmp_path / "nowhere.fasta"))


def test_mutants_are_near_training_examples_and_new(dataset, guard):
    made = list(mutants(dataset, 200, guard.is_known, seed=1, exchanged=0.4))
    assert len({each.peptide for each in made}) == len({each.id for each in made}) == 200
    train = [r.sequence * (2 if r.cyclic else 1) for r in dataset.records if r.split == "train"]
    stacked = "".join(train)
    ids = np.frombuffer(stacked.encode(), np.uint8)
    shares, excess = [], []
    for each in made:
        sequence = each.peptide.sequence
        assert MIN_PEPTIDE <= len(sequence) <= MAX_PEPTIDE and not guard.is_known(
            sequence, each.peptide.cyclic
        )
        letters = np.frombuffer(sequence.encode(), np.uint8)
        views = np.lib.stride_tricks.sliding_window_view(ids, len(letters))
        shares.append(1 - (views == letters).mean(axis=1).max())
        excess.append((shares[-1] - 0.4) / np.sqrt(0.4 * 0.6 / len(letters)))
    # Each residue is exchanged by chance, with a probability of at most 0.4.
    assert min(shares) > 0 and max(excess) < 3 and 0.05 < np.mean(shares) < 0.3
    assert any(each.peptide.cyclic for each in made)
    assert made == list(mutants(dataset, 200, guard.is_known, seed=1, exchanged=0.4))
    assert made != list(mutants(dataset, 200, guard.is_known, seed=2, exchanged=0.4))


def test_there_are_only_so_many_mutants(dataset, guard):
    with pytest.raises(BetafoldError, match="only 0 different mutants"):
        list(mutants(dataset, 5, lambda sequence, cyclic: True))


def test_what_is_left_out_and_why(dataset, guard, teacher):
    test = next(r for r in dataset.peptides("test") if not r.cyclic)
    train = dataset.chains("train")[0].sequence
    ring = Peptide.of("GRCTKSIPPICFPD", True)
    turned = Peptide.of(ring.sequence[5:] + ring.sequence[:5], True)
    sequences = [
        Unlabelled("good", Peptide.of("KLAKLAKKLAKLAKWW")),
        Unlabelled("bad", None, "nothing good"),
        Unlabelled("again", Peptide.of("KLAKLAKKLAKLAKWW")),
        Unlabelled("test", Peptide.of(test.sequence)),
        Unlabelled("known", Peptide.of(train[3:23])),
        Unlabelled("ring", ring),
        Unlabelled("turned", turned),
        Unlabelled("open", Peptide.of(ring.sequence)),
    ]
    done = []
    found = label_sequences(sequences, teacher, guard, Labelling(0.0, 2), done.append)
    assert [backbone.id for backbone in found.backbones] == ["good", "ring", "open"]
    assert [(name, reason) for name, reason, _ in sorted(found.dropped)] == [
        ("again", "duplicates"),
        ("bad", "bad records"),
        ("known", "with an experimental structure"),
        ("test", "like evaluation data"),
        ("turned", "duplicates"),
    ]
    assert found.read == sum(done) == 8 and found.failed == ["bad: nothing good"]
    assert found.backbones[1].cyclic and not found.backbones[2].cyclic


def test_only_what_the_teacher_is_sure_of_is_kept(guard, teacher):
    peptides = [Peptide.of("KLAKLAKKLAKLAKWW"), Peptide.of("GEWTYDDATKTFTVTE"), Peptide.of("GGSGGSGGSGGS")]
    sequences = [Unlabelled(p.sequence, p) for p in peptides]
    sure = [float(label.plddt.mean()) for label in teacher.label(peptides, 2)]
    between = (min(sure) + max(sure)) / 2
    assert min(sure) < between < max(sure)
    found = label_sequences(sequences, teacher, guard, Labelling(between, 2))
    assert [b.id for b in found.backbones] == [
        p.sequence for p, s in zip(peptides, sure, strict=True) if s >= between
    ]
    assert found.plddt == pytest.approx([s for s in sure if s >= between])
    assert {reason for _, reason, _ in found.dropped} == {"low confidence"}


def test_a_structure_without_its_stated_bonds_is_no_label(guard):
    class Clumsy:
        """Very sure, and makes the bonds of every second peptide."""

        def label(self, peptides, samples, seed):
            return [
                Label(np.zeros((len(p), 4, 3), np.float32), np.full(len(p), 99.0), n % 2 == 0)
                for n, p in enumerate(peptides)
            ]

    rings = [Peptide.of("KLAKLAKKLAKLAKWW", True), Peptide.of("GEWTYDDATKTFTVTE", True)]
    found = label_sequences([Unlabelled(p.sequence, p) for p in rings], Clumsy(), guard, Labelling(0.0, 2))
    assert [b.id for b in found.backbones] == [rings[0].sequence]
    assert found.dropped == [(rings[1].sequence, "bonds not made", "cyclic")]


def test_a_data_set_of_labels(tmp_path, folder, dataset, guard, teacher):
    path = tmp_path / "a.fasta"
    path.write_text(FASTA.replace(" cyclic disulfides=3-11", ""))  # rings and bonds take their time
    built, failed = from_sequences(path, teacher, guard, Labelling(0.0, 2, 3))
    assert len(failed) == 3
    built.save(tmp_path / "labels", "report")
    loaded = Dataset.load(tmp_path / "labels")
    assert loaded.origin == "distilled" and not loaded.fragments
    assert {r.split for r in loaded.records} == {"train"} and all(r.is_peptide for r in loaded.records)
    assert all(r.method == "predicted" and r.pdb is None for r in loaded.records)
    told = loaded.report["distillation"]
    assert told["against"] == guard.sha256 and told["teachers"] == teacher.describe()
    assert (told["min_plddt"], told["samples"], told["seed"]) == (0.0, 2, 3)
    assert set(told["versions"]) == {"betafold-mlx", "mlx", "python"}
    assert loaded.report["dropped"] == {"bad records": 3} and loaded.sources[0]["name"] == "a.fasta"
    for record, label in zip(
        loaded.records,
        teacher.label([Peptide.of(r.sequence, r.cyclic, r.disulfides) for r in loaded.records], 2, 3),
        strict=True,
    ):
        rows = slice(record.start, record.start + record.length)
        np.testing.assert_array_equal(loaded.coordinates[rows], label.coordinates)
    again, _ = from_sequences(path, teacher, guard, Labelling(0.0, 2, 3))
    again.save(tmp_path / "again", "report")
    for name in ("dataset.json", "arrays.safetensors"):
        assert (tmp_path / "labels" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_data_set_of_mutants(dataset, guard, teacher):
    built, failed = from_mutants(dataset, 40, 0.3, teacher, guard, Labelling(0.0, 1))
    assert not failed and len(built.records) > 20
    assert built.report["distillation"]["mutants"] == 40
    assert sum(built.report["dropped"].values()) + len(built.records) == 40
    assert guard.leaks([r.sequence for r in built.records], [r.cyclic for r in built.records]) == [
        None
    ] * len(built.records)


def test_nothing_left_is_an_error(tmp_path, guard, teacher):
    path = tmp_path / "a.fasta"
    for text in ("", ">bad\nXXX\n", ">good\nKLAKLAKKLAKLAKWW\n"):
        path.write_text(text)
        with pytest.raises(BetafoldError, match="no label is left"):
            from_sequences(path, teacher, guard, Labelling(100.0, 1))
