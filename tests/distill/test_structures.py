import dataclasses

import numpy as np
import pytest
from data_helpers import random_letters
from distill_helpers import save_toy, structure_of, values, write_pdb
from synthetic import backbone_of

from betafold_mlx import Predictor
from betafold_mlx.data.store import Dataset
from betafold_mlx.distill.structures import from_structures, read_confident
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import THREE_LETTER

RNG = np.random.default_rng(11)
LONG, OTHER = random_letters(RNG, 80), random_letters(RNG, 40)


def write_cif(path, sequence, b_factors, local=None, kind="pLDDT", skip=()):
    """An mmCIF file whose ``_ma_qa_metric_local`` may differ from its B-factors."""
    document = structure_of(sequence, b_factors).make_mmcif_document()
    if local is not None:
        block = document.sole_block()
        block.set_mmcif_category(
            "_ma_qa_metric.",
            {"id": ["1", "2"], "mode": ["global", "local"], "name": ["x", "y"], "type": ["pLDDT", kind]},
        )
        rows = [n for n in range(len(sequence)) if n not in skip]
        block.set_mmcif_category(
            "_ma_qa_metric_local.",
            {
                "label_asym_id": [block.find_value("_struct_asym.id") or "Axp"] * len(rows),
                "label_comp_id": [THREE_LETTER[sequence[n]] for n in rows],
                "label_seq_id": [str(n + 1) for n in rows],
                "metric_id": ["2"] * len(rows),
                "metric_value": [f"{local[n]:.3f}" for n in rows],
                "model_id": ["1"] * len(rows),
                "ordinal_id": [str(n + 1) for n in range(len(rows))],
            },
        )
        labels = set(document.sole_block().find_loop("_atom_site.label_asym_id"))
        column = block.find_loop("_ma_qa_metric_local.label_asym_id")
        for row in range(len(column)):
            column[row] = min(labels)
    document.write_file(str(path))
    return path


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("form", ["pdb", "cif", "metric"])
def test_residues_below_the_threshold_cut_the_chain(tmp_path, scale, form):
    confidence = values(80, [(0, 4), (30, 33), (50, 51)]) * scale / 100
    if form == "pdb":
        path = write_pdb(tmp_path / "one.pdb", LONG, confidence)
    elif form == "cif":
        path = write_cif(tmp_path / "one.cif", LONG, confidence)
    else:  # the B-factors say nothing
        path = write_cif(tmp_path / "one.cif", LONG, np.full(80, 50.0), confidence)
    read = read_confident(path, 70.0)
    assert [b.sequence for b in read.backbones] == [LONG[4:30], LONG[33:50], LONG[51:]]
    assert [b.kind for b in read.backbones] == ["segment"] * 3
    assert [b.id for b in read.backbones] == ["one_A:5-30", "one_A:34-50", "one_A:52-80"]
    expected = backbone_of(LONG, np.random.default_rng(3))
    np.testing.assert_allclose(read.backbones[1].coordinates, expected[33:50], atol=2e-3)
    assert read.unsure == 8 and read.dropped == []
    source = "_ma_qa_metric_local" if form == "metric" else "B-factor"
    assert read.scale == f"{source}, 0 to {scale:g}"


def test_the_threshold_itself_is_sure_enough(tmp_path):
    confidence = values(40)
    confidence[20] = 70.0
    path = write_pdb(tmp_path / "one.pdb", OTHER, confidence)
    assert [len(b) for b in read_confident(path, 70.0).backbones] == [40]
    assert [len(b) for b in read_confident(path, 70.01).backbones] == [20, 19]
    assert read_confident(path, 0.0).backbones[0].kind == "free"  # whole, and short enough for a peptide
    longer = write_pdb(tmp_path / "longer.pdb", LONG, values(80))
    assert read_confident(longer, 0.0).backbones[0].kind == "chain"


def test_a_metric_is_believed_rather_than_b_factors(tmp_path):
    sure, unsure = values(40), values(40, [(0, 40)])
    assert len(read_confident(write_cif(tmp_path / "a.cif", OTHER, unsure, sure), 70).backbones) == 1
    assert (
        read_confident(write_cif(tmp_path / "b.cif", OTHER, sure, unsure - np.arange(40) / 9), 70).backbones
        == []
    )
    skipped = read_confident(write_cif(tmp_path / "c.cif", OTHER, sure, sure, skip=range(12, 15)), 70)
    assert [len(b) for b in skipped.backbones] == [12, 25]  # no confidence is no great one
    other = write_cif(tmp_path / "d.cif", OTHER, sure, unsure, kind="distance")
    assert read_confident(other, 70).scale.startswith("B-factor")


def test_a_scale_that_the_file_states(tmp_path):
    tiny = np.linspace(0.2, 0.9, 40)
    path = write_cif(tmp_path / "a.cif", OTHER, values(40), tiny, kind="pLDDT in [0,1]")
    read = read_confident(path, 55)
    assert [b.sequence for b in read.backbones] == [OTHER[20:]] and read.scale.endswith("0 to 1")
    wrong = write_cif(tmp_path / "b.cif", OTHER, values(40), values(40), kind="pLDDT in [0,1]")
    with pytest.raises(BetafoldError, match="runs from 90 to 94, a pLDDT from 0 to 1"):
        read_confident(wrong, 55)


@pytest.mark.parametrize(
    ("confidence", "more", "message"),
    [
        (np.zeros(40), {}, "is 0 everywhere"),
        (np.full(40, 1.0), {}, "is 1 everywhere"),
        (np.linspace(10, 130, 40), {}, "runs from 10 to 130"),
        (np.linspace(-5, 80, 40), {}, "runs from -5 to 80"),
        (values(40), {"method": "X-RAY DIFFRACTION"}, "experimental structure"),
        (values(40), {"method": "SOLUTION NMR"}, "experimental structure"),
    ],
)
def test_what_is_no_confidence(tmp_path, confidence, more, message):
    path = write_pdb(tmp_path / "one.pdb", OTHER, confidence, **more)
    with pytest.raises(BetafoldError, match=message):
        read_confident(path, 70)


def test_our_own_files_are_read(tmp_path):
    predictor = Predictor.load(save_toy(tmp_path / "toy"))
    prediction = predictor.fold("KLAKLAKKLAKLAKWWGE")
    for suffix in ("cif", "pdb"):
        prediction.save(tmp_path / f"mine.{suffix}")
        read = read_confident(tmp_path / f"mine.{suffix}", 1.0)
        assert [b.sequence for b in read.backbones] == ["KLAKLAKKLAKLAKWWGE"]
        between = float(np.sort(prediction.plddt[0])[9])
        sure = int((np.round(prediction.plddt[0].astype(np.float64), 2) >= between).sum())
        assert read_confident(tmp_path / f"mine.{suffix}", between).unsure == 18 - sure > 0


def test_a_folder_of_predictions(tmp_path, dataset, guard):
    files = tmp_path / "files"
    files.mkdir()
    write_pdb(files / "a.pdb", LONG, values(80, [(30, 33), (40, 41)]))
    write_pdb(files / "again.pdb", LONG, values(80, [(33, 80)]) / 100)
    write_pdb(files / "b.pdb", OTHER, values(40, [(0, 40)]) + np.arange(40) / 10)
    (files / "c.pdb").write_text("REMARK nothing\n")
    test = max(dataset.chains("test"), key=lambda record: record.length)
    write_cif(files / "d.cif", test.sequence[:50], values(50))
    write_cif(files / "e.cif", dataset.chains("train")[0].sequence[:50], values(50))
    done = []
    built, failed = from_structures(files, guard, 70.0, done.append)
    assert sum(done) == 6 and len(failed) == 1 and "c.pdb" in failed[0]
    assert [(r.id, r.sequence) for r in built.records] == [
        ("a_A:1-30", LONG[:30]),
        ("a_A:42-80", LONG[41:]),
        ("again_A:1-33", LONG[:33]),
    ]
    assert sorted((name, reason) for name, reason, _ in built.report["dropped_records"]) == [
        ("a_A:34-40", "too short"),
        ("b.pdb", "low confidence"),
        ("d_A", "like evaluation data"),
        ("e_A", "with an experimental structure"),
    ]
    assert built.records[0].cluster == built.records[2].cluster != built.records[1].cluster
    built.save(tmp_path / "labels", "")
    loaded = Dataset.load(tmp_path / "labels")
    told = loaded.report["distillation"]
    assert told["confidence"] == {"B-factor, 0 to 1": 1, "B-factor, 0 to 100": 4}
    assert (told["residues"], told["residues_below"]) == (30 + 7 + 39 + 33 + 50 + 50, 4 + 47 + 40)
    assert loaded.sources[0]["name"] == "a.pdb" and all(r.pdb is None for r in loaded.records)
    assert len(loaded.sources) == 5


def test_the_same_piece_twice_is_a_duplicate(tmp_path, guard):
    for name in ("a", "b"):
        write_pdb(tmp_path / f"{name}.pdb", OTHER, values(40))
    built, _ = from_structures(tmp_path, guard)
    assert len(built.records) == 1 and built.report["dropped"] == {"duplicates": 1}


def test_a_torsion_next_to_a_cut_is_not_defined(tmp_path, guard):
    write_pdb(tmp_path / "a.pdb", LONG, values(80, [(30, 33)]))
    built, _ = from_structures(tmp_path, guard)
    first = built.records[0]
    assert not built.torsion_mask[first.length, 0] and not built.torsion_mask[first.length - 1, 1:].any()
    whole = dataclasses.replace(built)
    assert whole.torsion_mask[first.length + 1 : first.length + 10].all()


def test_no_such_folder(tmp_path, guard):
    with pytest.raises(BetafoldError, match="no such file or folder"):
        from_structures(tmp_path / "nowhere", guard)
