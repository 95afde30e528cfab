"""The folding network and its directories."""

import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry import build_backbone
from betafold_mlx.model.config import EmbedderConfig, ModelConfig
from betafold_mlx.model.directory import load_model, save_model
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.heads import expected_plddt, vectors_to_angles, with_bounded_gradient
from betafold_mlx.model.inputs import collate, padded_length
from betafold_mlx.peptide.sequence import Peptide

SMALL = ModelConfig(width=32, layers=2, heads=4, ffn_width=64)
PEPTIDES = [
    Peptide.of("GIGKFLHSAKKFGKAFVGEIMNS"),
    Peptide.of("GRCTKSIPPICFPD", cyclic=True, disulfides=((3, 11),)),
    Peptide.of("SWTWEGNKWTWK"),
]


@pytest.fixture
def model():
    mx.random.seed(5)
    return FoldingModel(SMALL)


def test_shapes_and_finite_numbers(model):
    folded = model(collate(PEPTIDES), return_attention=True)
    assert folded.vectors.shape == (3, 24, 3, 2)
    assert folded.torsions.shape == (3, 24, 3)
    assert folded.coordinates.shape == (3, 24, 5, 3)
    assert folded.plddt.shape == (3, 24)
    assert [m.shape for m in folded.attention] == [(3, 4, 24, 24)] * 2
    for array in (folded.torsions, folded.coordinates, folded.plddt):
        assert mx.isfinite(array).all().item()
    assert float(folded.plddt.min()) >= 0 and float(folded.plddt.max()) <= 100


def test_a_peptide_folds_alone_as_in_a_padded_batch(model):
    together = model(collate(PEPTIDES, 32))
    for row, peptide in enumerate(PEPTIDES):
        alone = model(collate([peptide], len(peptide)))
        n = len(peptide)
        np.testing.assert_allclose(together.vectors[row, :n], alone.vectors[0], atol=1e-5)
        np.testing.assert_allclose(together.plddt[row, :n], alone.plddt[0], atol=1e-3)


def test_coordinates_are_those_of_the_torsions(model):
    inputs = collate(PEPTIDES)
    folded = model(inputs)
    want = build_backbone(folded.torsions, inputs.residues, inputs.mask)
    assert mx.array_equal(folded.coordinates, want).item()
    assert float(mx.abs(folded.coordinates[1, 14:]).max()) == 0


def test_stated_chemistry_reaches_the_prediction(model):
    model.pair_bias.separation.weight = mx.random.normal(model.pair_bias.separation.weight.shape)
    model.pair_bias.disulfide = mx.ones((4,))
    sequence = "GRCTKSIPPICFPD"
    plain, ring, bonded = (
        np.array(model(collate([peptide])).torsions)
        for peptide in (
            Peptide.of(sequence),
            Peptide.of(sequence, True),
            Peptide.of(sequence, False, ((3, 11),)),
        )
    )
    assert np.abs(plain - ring).max() > 1e-3 and np.abs(plain - bonded).max() > 1e-3


def test_dropout_only_with_a_key(model):
    inputs = collate(PEPTIDES)
    assert mx.array_equal(model(inputs).torsions, model(inputs).torsions).item()
    key = mx.random.key(0)
    assert mx.array_equal(model(inputs, key).torsions, model(inputs, key).torsions).item()
    assert not mx.array_equal(model(inputs, key).torsions, model(inputs).torsions).item()


def test_confidence_does_not_shape_the_structure(model):
    def confidence(inputs):
        return model(inputs).plddt_logits.sum()

    _, gradients = nn.value_and_grad(model, confidence)(collate(PEPTIDES))
    moved = {name.split(".")[0] for name, g in tree_flatten(gradients) if float(mx.abs(g).max()) > 0}
    assert moved == {"confidence_head"}


def test_every_parameter_learns(model):
    def loss(inputs):
        folded = model(inputs)
        known = inputs.mask[..., None] & mx.ones((2,), dtype=mx.bool_)
        density = folded.mixture.log_density(folded.torsions[..., :2], known)
        heads = (folded.vectors, folded.plddt_logits, folded.distogram)
        return sum(mx.square(head - 1).sum() for head in heads) + density.sum()

    _, gradients = nn.value_and_grad(model, loss)(collate(PEPTIDES))
    still = [name for name, g in tree_flatten(gradients) if float(mx.abs(g).max()) == 0]
    assert still == []


def test_frozen_features_take_the_place_of_the_embedding():
    config = ModelConfig(
        width=32, layers=1, heads=4, ffn_width=64,
        embedder=EmbedderConfig(kind="esm2", width=20, size="toy", sha256="0" * 64),
    )  # fmt: skip
    model = FoldingModel(config)
    inputs = collate(PEPTIDES)
    with pytest.raises(BetafoldError, match="features"):
        model(inputs)
    features = mx.random.normal((3, 24, 20))
    first = model(inputs._replace(features=features))
    second = model(inputs._replace(features=features + 1))
    assert not mx.allclose(first.vectors, second.vectors).item()


def test_too_long_is_refused(model):
    assert [padded_length(length) for length in (16, 17, 50)] == [16, 24, 50]
    with pytest.raises(BetafoldError, match="51"):
        padded_length(51)
    with pytest.raises(BetafoldError, match="at most 64"):
        model(collate([PEPTIDES[0]], 65))


def test_directions_and_expected_plddt():
    angles = np.array([-3.0, -1.0, 0.0, 2.5], dtype=np.float32)
    vectors = 0.3 * mx.stack([mx.cos(mx.array(angles)), mx.sin(mx.array(angles))], axis=-1)
    np.testing.assert_allclose(np.array(vectors_to_angles(vectors)), angles, atol=1e-6)
    gradient = mx.grad(lambda v: vectors_to_angles(v).sum())(mx.zeros((3, 2)))
    assert mx.isfinite(gradient).all().item()
    sure = mx.full((1, 50), -1e4)
    sure[0, 0] = 0.0
    assert float(expected_plddt(sure)[0]) == pytest.approx(1.0)
    assert float(expected_plddt(mx.zeros((1, 50)))[0]) == pytest.approx(50.0)


def test_the_gradient_through_the_angles_does_not_grow_for_short_vectors():
    def turn(vectors, bounded):
        angles = vectors_to_angles(vectors)
        return (with_bounded_gradient(angles, vectors) if bounded else angles).sum()

    angle = 0.7
    for length in (1e-3, 0.1, 0.5, 1.0, 3.0):
        vectors = length * mx.array([[np.cos(angle), np.sin(angle)]])
        across = np.array([[-np.sin(angle), np.cos(angle)]])
        free, bounded = (np.array(mx.grad(lambda v, b=b: turn(v, b))(vectors)) for b in (False, True))
        np.testing.assert_allclose(free, across / length, rtol=1e-4)
        np.testing.assert_allclose(bounded, across * min(length, 1) / length, rtol=1e-4)
        assert mx.array_equal(
            with_bounded_gradient(vectors_to_angles(vectors), vectors), vectors_to_angles(vectors)
        ).item()
    zero = mx.grad(lambda v: turn(v, True))(mx.zeros((3, 2)))
    assert mx.isfinite(zero).all().item()


# Model directories


def saved(tmp_path, model, **changes):
    save_model(tmp_path / "m", model, "# card\n", {"steps": 1}, **changes)
    return tmp_path / "m"


def test_save_and_load_give_the_same_model(tmp_path, model):
    loaded = load_model(saved(tmp_path, model))
    inputs = collate(PEPTIDES)
    assert mx.array_equal(loaded.model(inputs).torsions, model(inputs).torsions).item()
    assert loaded.name == "m" and len(loaded.sha256) == 64
    assert (tmp_path / "m" / "README.md").read_text() == "# card\n"
    assert load_model(saved(tmp_path, model)).sha256 == loaded.sha256  # replaced as a whole, same bytes
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]
    half = load_model(saved(tmp_path, model, dtype=mx.float16)).model
    assert {array.dtype for _, array in tree_flatten(half.parameters())} == {mx.float32}
    inputs = collate(PEPTIDES)
    one, other, mask = model(inputs), half(inputs), np.array(inputs.mask)
    for name, tolerance in (
        ("vectors", 0.01),
        ("torsions", 0.05),
        ("plddt", 0.05),
    ):  # unit vectors, radians, of 100
        error = np.abs(np.array(getattr(one, name)) - np.array(getattr(other, name)))[mask]
        assert 0 < error.max() < tolerance, name


def test_a_calibration_from_before_templates_gives_them_no_weight(tmp_path, model):
    model.calibration.weight = mx.random.normal(model.calibration.weight.shape)
    path = saved(tmp_path, model) / "model.safetensors"
    arrays = mx.load(str(path))
    before = arrays["calibration.weight"][:-1]
    mx.save_safetensors(str(path), arrays | {"calibration.weight": before})
    assert load_model(path.parent).model.calibration.weight.tolist() == [*before.tolist(), 0.0]


def one_line(error):
    assert "\n" not in str(error.value) and "Traceback" not in str(error.value)


def test_a_truncated_file_is_named(tmp_path, model):
    path = saved(tmp_path, model) / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(BetafoldError, match="not a whole safetensors file") as error:
            load_model(path.parent)
        one_line(error)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a pickle, say", b"\x80\x04\x95", b"{}" * 50])
def test_a_foreign_file_is_refused(tmp_path, model, content):
    path = saved(tmp_path, model) / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BetafoldError, match="not a whole safetensors file"):
        load_model(path.parent)


def test_missing_extra_misshapen_and_nan_tensors_are_named(tmp_path, model):
    directory = saved(tmp_path, model)
    path = directory / "model.safetensors"
    good = mx.load(str(path))
    name = "torsion_head.linear.weight"
    for change, message in (
        ({name: None}, f"lacks tensor {name}"),
        ({"surprise": mx.zeros((2,))}, "unknown tensor surprise"),
        ({name: mx.zeros((6, 31))}, f"{name} is \\(6, 31\\)"),
        ({name: mx.full((6, 32), float("nan"))}, f"{name} holds NaN"),
        ({name: mx.zeros((6, 32), dtype=mx.int32)}, f"{name} holds"),
    ):
        arrays = {k: v for k, v in (good | change).items() if v is not None}
        mx.save_safetensors(str(path), arrays)
        with pytest.raises(BetafoldError, match=message) as error:
            load_model(directory)
        one_line(error)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "esm"}, "does not describe a betafold"),
        ({"schema_version": 99}, "schema 99"),
        ({"network": {"width": 30, "heads": 4}}, "multiple"),
        ({"network": {"width": 33, "heads": 3}}, "width 33 must be even"),
        ({"network": {"colour": 1}}, "unknown key 'colour'"),
        ({"network": {"layers": -1}}, "layers must be"),
        ({"network": {"dropout": 1.5}}, "dropout"),
        ({"network": {"embedder": {"kind": "bert"}}}, "bert"),
        ({"network": 3}, "must be an object"),
        ({"network": {"width": 10**9}}, "width must be a whole number from 1 to 8192"),
        ({"network": {"max_length": [32] * 1000}}, "max_length must be"),
        ({"network": {"embedder": []}}, "'embedder' must be an object"),
        ({"network": {"embedder": {"kind": ["residue"]}}}, "embedder kind"),
        ({"network": {"embedder": {"kind": "esm2"}}}, "embedder width"),
        ({"network": {"embedder": {"kind": "esm2", "width": 10**12}}}, "embedder width"),
        ({"network": {"embedder": {"kind": "esm2", "width": 320, "sha256": 5}}}, "embedder sha256"),
    ],
)
def test_an_impossible_config_is_refused(tmp_path, model, change, message):
    directory = saved(tmp_path, model)
    document = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(document | change))
    with pytest.raises(BetafoldError, match=message) as error:
        load_model(directory)
    one_line(error)
    assert len(str(error.value)) < 300 + len(str(directory))


def test_missing_directories_and_files(tmp_path, model):
    with pytest.raises(BetafoldError, match="no model directory"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BetafoldError, match=r"no config\.json"):
        load_model(tmp_path / "empty")
    directory = saved(tmp_path, model)
    (directory / "model.safetensors").unlink()
    with pytest.raises(BetafoldError, match="is not there"):
        load_model(directory)
    for text in ("{ not json", "[" * 100_000):  # the second: nested without end
        (directory / "config.json").write_text(text)
        with pytest.raises(BetafoldError, match="is not whole JSON"):
            load_model(directory)
