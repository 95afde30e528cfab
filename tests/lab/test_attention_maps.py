import pytest

pytest.importorskip("matplotlib", reason="needs matplotlib")

import mlx.core as mx
import numpy as np
from lab_helpers import tiny_lab, tiny_model
from synthetic import toy_model

from betafold_mlx.lab import attention_maps
from betafold_mlx.lab.head_weights import network_maps
from betafold_mlx.lab.runner import write_report
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.secondary import assign_secondary_structure


def test_maps_are_those_of_each_peptide_by_itself():
    mx.random.seed(7)
    model = toy_model()
    peptides = [Peptide.of("GIGKFLHSAKKFGKAFV"), Peptide.of("GEWTY"), Peptide.of("GEWTYDDATKTF")]
    for peptide, found in zip(peptides, network_maps(model, None, peptides), strict=True):
        alone = model(collate([peptide], 24), return_attention=True).attention
        length = len(peptide)
        expected = np.array(mx.stack(alone, axis=1))[0, :, :, :length, :length]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(found.sum(axis=-1), 1.0, atol=1e-5)


def test_each_layer_of_each_peptide_is_drawn(tmp_path):
    model = tiny_model(tmp_path / "model")
    lab = tiny_lab(tmp_path, data=None, model=str(model), peptides=("GIGKF", "GEWTYD"))
    report = attention_maps.run_attention(lab)
    assert set(report.pictures) == {"model-GIGKF-layer1", "model-GEWTYD-layer1"}
    axes = report.pictures["model-GIGKF-layer1"].figure.axes
    for axis in axes:
        assert "".join(label.get_text() for label in axis.get_xticklabels()) == "GIGKF"
        assert "".join(label.get_text() for label in axis.get_yticklabels()) == "GIGKF"
    assert len(axes) == 4
    write_report(tmp_path / "out", "x", "y", report)


def test_heads_are_measured_on_test_structures(tmp_path):
    lab = tiny_lab(tmp_path, model=str(tiny_model(tmp_path / "model")))
    report = attention_maps.run_attention(lab)
    rows = report.tables["model-helix"]
    assert [(row["layer"], row["head"]) for row in rows] == [(1, 1), (1, 2), (1, 3), (1, 4)]
    helical = sum(
        assign_secondary_structure(item.coordinates[:, 1]).count("H")
        for item in attention_maps.split_items(lab.dataset, "test")
    )
    assert rows[0]["residues"] == helical > 0
    verdict = report.findings[0].verdict
    assert "position alone" in verdict or "too few clusters" in verdict  # random weights know no helix
