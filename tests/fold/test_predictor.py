"""`Predictor` and `Prediction`: batches, samples, stated bonds, and what is refused."""

import dataclasses
import json

import mlx.core as mx
import numpy as np
import pytest
from oracles import backbone_torsions
from synthetic import toy_model

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold import closing, ensemble
from betafold_mlx.fold.ranking import CLASH_COST
from betafold_mlx.geometry.checks import Bond, count_clashes
from betafold_mlx.model.config import EmbedderConfig, ModelConfig
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, MIN_LENGTH, Peptide
from betafold_mlx.structure import caps
from betafold_mlx.structure.secondary import assign_secondary_structures

CONFIG = ModelConfig(width=32, layers=1, heads=4, ffn_width=64)

pytestmark = pytest.mark.usefixtures("quick_folds")
USUAL = [
    (module, name, getattr(module, name))
    for module, name in ((ensemble, "BONDED_STEPS"), (ensemble, "ATTEMPTS"), (closing, "ROUNDS"))
]  # before they are made quick


def loaded(path, config=CONFIG):
    mx.random.seed(0)
    return LoadedModel(toy_model(config), "toy", "0" * 64, path)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return Predictor(loaded(tmp_path_factory.mktemp("toy")))


def best_first(prediction):
    """Whether models that do not run through themselves come first, then those of more confidence and less clashes."""
    peptide = prediction.peptide
    glycine = np.array([letter == "G" for letter in peptide.sequence])
    clashes, through = count_clashes(prediction.coordinates, glycine, peptide.cyclic, peptide.disulfides)
    assert prediction.clashes == tuple(clashes.tolist())
    score = prediction.plddt.mean(axis=1) - CLASH_COST * clashes / len(peptide)
    keys = list(zip(through.tolist(), (-score).tolist(), strict=True))
    return keys == sorted(keys)


def test_nothing_folds_to_nothing(predictor):
    assert predictor.fold_many([]) == []


def test_every_length_at_once_comes_back_in_order(predictor):
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.arange(MIN_LENGTH, MAX_LENGTH + 1))
    peptides = [Peptide.of("".join(rng.choice(list(ALPHABET), size=length))) for length in lengths]
    predictions = predictor.fold_many(peptides, ids=[f"p{n}" for n in range(len(peptides))], samples=2)
    assert [p.id for p in predictions] == [f"p{n}" for n in range(len(peptides))]
    for peptide, prediction in zip(peptides, predictions, strict=True):
        length = len(peptide)
        assert prediction.peptide == peptide
        assert prediction.coordinates.shape == (2, length, 5, 3)
        assert prediction.plddt.shape == (2, length) and prediction.torsions.shape == (2, length, 3)
        assert best_first(prediction)
        holes = np.isnan(prediction.coordinates).any(axis=(0, 3))  # (L, 5)
        glycine = np.array([letter == "G" for letter in peptide.sequence])
        np.testing.assert_array_equal(holes[:, 4], glycine)
        assert not holes[:, :4].any()
        undefined = np.isnan(prediction.torsions).all(axis=0)
        assert undefined[0, 0] and undefined[-1, 1:].all() and undefined.sum() == 3
        if length % 6 != MIN_LENGTH % 6 and length != MAX_LENGTH:
            continue
        (alone,) = predictor.fold_many([peptide])
        first = np.abs(prediction.torsions - alone.torsions[0])  # which of the two ranks the answer has
        assert np.nanmin(np.nanmax(np.minimum(first, 2 * np.pi - first), axis=(1, 2))) < 1e-3


def test_many_peptides_go_in_several_batches(predictor, monkeypatch):
    peptides = [Peptide.of("ACDEFGHIKL"[n:] + "ACDEFGHIKL"[:n]) for n in range(7)]
    whole = predictor.fold_many(peptides)
    sizes = []
    model = predictor.loaded.model

    class Counted:
        config, calibration = model.config, model.calibration

        def __call__(self, inputs, **options):
            sizes.append(len(inputs.mask))
            return model(inputs, **options)

    monkeypatch.setattr(predictor, "loaded", dataclasses.replace(predictor.loaded, model=Counted()))
    parts = predictor.fold_many(peptides, batch_size=3)
    assert sizes == [3, 3, 1] and [p.id for p in parts] == [p.id for p in whole]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.coordinates, b.coordinates, atol=1e-3)


def test_a_peptide_states_its_own_chemistry(predictor):
    ring = Peptide.parse("GRCTKSIPPICFPD", True, [(3, 11)])
    same = predictor.fold("GRCTKSIPPICFPD", cyclic=True, disulfides=[(11, 3)])
    np.testing.assert_array_equal(predictor.fold(ring).torsions, same.torsions)
    for chemistry in (
        {"cyclic": True},
        {"disulfides": [(3, 11)]},
        {"d_amino_acids": True},
        {"n_cap": "ACE"},
        {"c_cap": "NH2"},
    ):
        with pytest.raises(BetafoldError, match="its own chemistry"):
            predictor.fold(ring, **chemistry)
    np.testing.assert_array_equal(predictor.fold(ring, disulfides=iter(())).torsions, same.torsions)


def test_each_peptide_has_one_id(predictor):
    with pytest.raises(BetafoldError, match="1 ids for 2 peptides"):
        predictor.fold_many([Peptide.of("ACDEFG"), Peptide.of("GHIKLM")], ids=["a"])


def test_a_model_that_gives_no_numbers_is_one_line(tmp_path):
    broken = loaded(tmp_path)
    embedding = broken.model.embedding
    # Finite, so it loads; the mean of a row is not.
    embedding.weight = mx.full(embedding.weight.shape, 3e38)
    with pytest.raises(BetafoldError, match="model toy gives no finite numbers"):
        Predictor(broken).fold("GIGKFLHSAKKF")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_length": 24}, "reads at most 24 residues"),
        (
            {"embedder": EmbedderConfig("esm2", 20, "8M", "a" * 64)},
            "reads ESM-2 8M, sha256 aaaaaaaaaaaa, and .* none",
        ),
        ({"embedder": EmbedderConfig("esm2", 20)}, "sha256 unknown, and the embedder given is none"),
    ],
)
def test_a_model_that_cannot_fold_here_is_refused_when_it_is_loaded(tmp_path, changes, message):
    with pytest.raises(BetafoldError, match=message):
        Predictor(loaded(tmp_path, dataclasses.replace(CONFIG, **changes)))


def test_what_a_python_user_sees(predictor):
    prediction = predictor.fold("gigkflhsakkf gkafvgeimns", samples=3)
    assert prediction.coordinates.shape == (3, 23, 5, 3)
    assert prediction.plddt.shape == (3, 23)
    assert prediction.torsions.shape == (3, 23, 3)
    glycine = np.array([letter == "G" for letter in prediction.sequence])
    assert np.isnan(prediction.coordinates[:, glycine, 4]).all()
    assert np.isfinite(prediction.coordinates[:, ~glycine]).all()
    assert np.isfinite(prediction.coordinates[:, :, :4]).all()
    undefined = np.isnan(prediction.torsions)
    assert undefined[:, 0, 0].all() and undefined[:, -1, 1:].all() and undefined.sum() == 9
    assert len(prediction.secondary_structure[0]) == 23
    assert best_first(prediction)


def test_the_same_seed_gives_the_same_bytes(predictor):
    first, second = (predictor.fold("GIGKFLHSAKKF", samples=3, seed=4) for _ in range(2))
    assert first.text("cif") == second.text("cif") and first.text("pdb") == second.text("pdb")
    assert first.to_dict() == second.to_dict()
    assert predictor.fold("GIGKFLHSAKKF", samples=3, seed=5).text("pdb") != first.text("pdb")


def test_a_sample_does_not_depend_on_how_many_there_are(predictor):
    few, many = (predictor.fold("GIGKFLHSAKKF", samples=n).coordinates for n in (2, 6))
    for model in few:
        assert any(np.array_equal(model, other, equal_nan=True) for other in many)


def test_a_sample_does_not_depend_on_its_company(predictor):
    peptides = [Peptide.of(s) for s in ("GIGKFLHSAKKF", "ACDEFGHIKLMNPQRSTVWY", "WWWW")]
    together = predictor.fold_many(peptides, samples=2)
    for peptide, prediction in zip(peptides, together, strict=True):
        alone = predictor.fold(peptide, samples=2)
        assert prediction.sequence == peptide.sequence
        np.testing.assert_allclose(prediction.coordinates, alone.coordinates, atol=1e-3)


def test_stated_bonds_are_measured(predictor, monkeypatch):
    for module, name, number in USUAL:
        monkeypatch.setattr(module, name, number)
    prediction = predictor.fold("GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)])
    ring, bond = prediction.bonds[0]
    c, n = prediction.coordinates[0, -1, 2], prediction.coordinates[0, 0, 0]
    assert ring.kind == "ring" and ring.distance == pytest.approx(np.linalg.norm(c - n), abs=1e-3)
    assert bond.residues == (3, 11) and bond.distance == pytest.approx(2.04, abs=0.03)
    assert prediction.constraints_met and not any("head-to-tail" in w for w in prediction.warnings)
    assert prediction.to_dict()["models"][0]["stated_bonds"][0]["distance"] == ring.distance


def test_files_state_only_bonds_that_every_model_has(predictor):
    prediction = predictor.fold("GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)], samples=2)
    ring, bond = Bond("ring", (1, 14), 1.33, True), Bond("disulfide", (3, 11), 3.9, True)
    for bonds, links in (
        (((ring, bond), (ring, bond)), {"SSBOND", "LINK"}),
        (((ring, bond), (ring, dataclasses.replace(bond, formed=False))), {"LINK"}),
        (((dataclasses.replace(ring, formed=False), bond), (ring, bond)), {"SSBOND"}),
    ):
        text = dataclasses.replace(prediction, bonds=bonds).text("pdb")
        assert {line.split()[0] for line in text.splitlines()} & {"SSBOND", "LINK"} == links


@pytest.mark.parametrize(
    ("sequence", "cyclic", "pairs", "ends"),
    [
        ("GIGKFLHSAKKFGKAFVGEIMNS", False, [], (None, None)),
        ("GRCTKSIPPICFPD", True, [(3, 11)], (None, None)),
        ("GCCSDPRCAWRC", False, [(2, 8), (3, 12)], ("ACE", "NH2")),
    ],
)
def test_a_d_peptide_is_the_mirror_image_to_the_last_bit(predictor, sequence, cyclic, pairs, ends):
    l_form, d = (
        predictor.fold(Peptide.parse(sequence, cyclic, pairs, hand, *ends), samples=2)
        for hand in (False, True)
    )
    assert d.coordinates.dtype == d.torsions.dtype == np.float32
    np.testing.assert_array_equal(d.coordinates[..., :2], l_form.coordinates[..., :2])
    np.testing.assert_array_equal(d.coordinates[..., 2], -l_form.coordinates[..., 2])
    np.testing.assert_array_equal(d.torsions, -l_form.torsions)
    np.testing.assert_array_equal(d.plddt, l_form.plddt)
    assert d.secondary_structure == l_form.secondary_structure
    assert (d.bonds, d.warnings) == (l_form.bonds, l_form.warnings)
    # The torsions are those of the coordinates: not only both negated, or neither.
    for model, torsions in zip(d.coordinates, d.torsions, strict=True):
        turned = backbone_torsions(model[:, :3].astype(float)) - torsions
        assert np.nanmax(np.abs(np.sin(turned / 2))) < 1e-3
    changed = {key for key, value in d.to_dict().items() if value != l_form.to_dict()[key]}
    assert changed == {"residues", "d_amino_acids", "secondary_structure_of", "torsions", "models"}
    assert d.to_dict()["d_amino_acids"] is True and d.to_dict()["secondary_structure_of"] == "mirror image"
    assert l_form.to_dict()["secondary_structure_of"] == "model"


def test_secondary_structures_are_in_the_order_of_the_models(predictor):
    peptides = [Peptide.of("GIGKFLHSAKKF"), Peptide.of("A" * 12, d_amino_acids=True), Peptide.of("GIGK")]
    for prediction in predictor.fold_many(peptides, samples=6):
        mirror = [1, 1, -1 if prediction.peptide.d_amino_acids else 1]
        traces = prediction.coordinates[:, :, 1] * np.float32(mirror)
        assert list(prediction.secondary_structure) == assign_secondary_structures(list(traces))


def test_caps_change_nothing_but_the_files(predictor):
    bare = predictor.fold("GIGKFLHSAKKF", samples=2)
    capped = predictor.fold("GIGKFLHSAKKF", n_cap="ace", c_cap="NH2", samples=2)
    for name in ("coordinates", "plddt", "torsions"):
        np.testing.assert_array_equal(getattr(capped, name), getattr(bare, name))
    assert capped.to_dict()["caps"] == {"n": "ACE", "c": "NH2", "modelled": False}
    assert bare.to_dict()["caps"] == {"n": None, "c": None, "modelled": False}
    assert capped.text("pdb").count("ACE A   0") == 2 * 3 + 1 and "ACE" not in bare.text("pdb")
    assert capped.text("cif").count("NH2") > bare.text("cif").count("NH2") == 0


def test_a_cap_without_room_is_a_warning(predictor, monkeypatch):
    assert not any("no room" in warning for warning in predictor.fold("GIGKFLHSAKKF").warnings)
    monkeypatch.setattr(caps, "CONTACT", 99.0)
    for hand in (False, True):
        warnings = predictor.fold("GIGKFLHSAKKF", d_amino_acids=hand, n_cap="ACE", c_cap="NH2").warnings
        assert [w.split(":")[0] for w in warnings if "no room" in w] == [
            "there is no room for the cap ACE",
            "there is no room for the cap NH2",
        ]


def test_lengths_outside_the_trained_ones_carry_a_warning(predictor):
    assert predictor.fold("GIGKFLHSAK").warnings == ()
    for sequence in ("GIGKFLH", "GIGK"):
        assert any("trained on 8 to 50" in warning for warning in predictor.fold(sequence).warnings)


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ("FFFFFFFFFFFF", True),
        ("AAAAAAAA", True),
        ("KLLKLLKLLKLL", True),
        ("GIGKFLHSAK", False),
        ("KLAKLAKKLAKLAK", False),
        ("AAAA", False),
    ],
)
def test_few_kinds_of_residues_carry_a_warning(predictor, sequence, said):
    warnings = predictor.fold(sequence, candidates=1).warnings
    assert any("few kinds of residues" in warning for warning in warnings) == said


def test_save_by_suffix(tmp_path, predictor):
    prediction = predictor.fold("GIGKFLHSAKKF")
    assert prediction.save(tmp_path / "x.pdb").read_text().startswith(("HEADER", "TITLE", "EXPDTA"))
    assert prediction.save(str(tmp_path / "x.cif")).read_text().startswith("data_")
    assert json.loads(prediction.save(tmp_path / "x.json").read_text())["schema_version"] == 1
    assert prediction.save(tmp_path / "x.html", "the command").read_text() == prediction.text(
        "html", "the command"
    )
    with pytest.raises(BetafoldError, match="must end in"):
        prediction.save(tmp_path / "x.xyz")
    with pytest.raises(BetafoldError, match="use cif, pdb, json or html"):
        prediction.text("xyz")


def test_the_largest_seed_and_no_peptides_are_taken(predictor):
    assert predictor.fold_many([], seed=2**31 - 1) == []


@pytest.mark.parametrize("arguments", [{"samples": 0}, {"seed": -1}, {"seed": 2**31}])
def test_numbers_out_of_range(predictor, arguments):
    with pytest.raises(BetafoldError, match=next(iter(arguments))):
        predictor.fold("GIGKFLHSAKKF", **arguments)


def test_torsions_lie_within_half_a_turn(predictor):
    torsions = predictor.fold("GIGKFLHSAKKFGKAF", samples=6).torsions
    assert np.nanmax(np.abs(torsions)) <= np.float32(np.pi) + 1e-6 and torsions.dtype == np.float32
