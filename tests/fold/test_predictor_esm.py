"""Folding on features of ESM-2: the right embedder, found or refused, and named in everything that comes out."""

import shutil

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import TINY, random_tensors, source_tensor, write_checkpoint
from synthetic import toy_model

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.embedder import EsmEmbedder
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.reference import reference_forward
from betafold_mlx.esm.sizes import EsmConfig
from betafold_mlx.esm.tokenizer import tokenize
from betafold_mlx.fold import registry as zoo
from betafold_mlx.fold.confidence import confidence_features
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.fold.output import SUMMARY_COLUMNS, summary_row
from betafold_mlx.model.config import EmbedderConfig, ModelConfig
from betafold_mlx.model.directory import load_model, save_model
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import ALPHABET, Peptide

MAGAININ = "GIGKFLHSAKKFGKAFVGEIMNS"
LABEL = "owner/tiny (2x24, not checked against the published ESM-2 weights)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in ``run/best`` and its embedder in ``elsewhere/tiny``."""
    path = tmp_path_factory.mktemp("esm")
    esm = convert(read_checkpoint(TINY), path / "elsewhere" / "tiny", "owner/tiny").esm
    mx.random.seed(0)
    config = ModelConfig(width=32, layers=1, heads=4, ffn_width=64, embedder=esm.embedder_config())
    save_model(path / "run" / "best", toy_model(config), "card", {})
    other = EsmConfig(layers=1, width=24, heads=3, ffn_width=48)
    source = read_checkpoint(write_checkpoint(path / "hub", other, random_tensors(other, 1)))
    convert(source, path / "elsewhere" / "other", "owner/other")
    return path


@pytest.fixture(scope="module")
def predictor(folder):
    return Predictor.load(folder / "run" / "best", folder / "elsewhere" / "tiny")


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(zoo, "_WEIGHTS", (tmp_path / "weights",))
    monkeypatch.chdir(tmp_path)


def test_the_model_reads_the_states_of_esm_in_half_precision(folder, predictor):
    """The same by the float64 reference of ESM-2, without the embedder's code."""
    checkpoint = read_checkpoint(TINY)
    arrays = {name: np.array(array) for name, array in checkpoint.arrays.items()}
    reference = reference_forward(source_tensor(arrays), checkpoint.config, tokenize(MAGAININ))
    features = np.zeros((1, 24, 24), np.float32)
    features[0, :23] = reference.states[1:-1].astype(np.float16)
    inputs = collate([Peptide.of(MAGAININ)], 24)._replace(features=mx.array(features))
    model = load_model(folder / "run" / "best").model
    folded = model(inputs)
    expected = refine(folded, inputs, 0, [0])
    prediction = predictor.fold(MAGAININ)
    plddt = model.calibration(confidence_features(folded, expected))[0, 0, :23]
    np.testing.assert_allclose(prediction.plddt[0], np.array(plddt), atol=0.05)
    turn = prediction.torsions[0] - np.array(expected.torsions[0, 0, :23])
    assert np.nanmax(np.abs((turn + np.pi) % (2 * np.pi) - np.pi)) < 0.02


def test_it_is_not_blind_to_its_features(folder):
    """The same model on other features folds another structure."""
    best = load_model(folder / "run" / "best")
    esm = EsmEmbedder.load(folder / "elsewhere" / "tiny")
    first = Predictor(best, esm).fold(MAGAININ)
    esm.esm.model.norm.weight = -esm.esm.model.norm.weight
    assert np.nanmax(np.abs(Predictor(best, esm).fold(MAGAININ).torsions - first.torsions)) > 0.1


def test_a_batch_and_its_peptides_alone(predictor):
    rng = np.random.default_rng(0)
    peptides = [Peptide.of("".join(rng.choice(list(ALPHABET), size=n))) for n in (4, 12, 16, 17, 24, 30, 32)]
    together = predictor.fold_many(peptides, samples=3)
    for peptide, prediction in zip(peptides, together, strict=True):
        alone = predictor.fold(peptide, samples=3)
        np.testing.assert_allclose(prediction.plddt, alone.plddt, atol=0.5)
        turn = np.abs((prediction.torsions - alone.torsions + np.pi) % (2 * np.pi) - np.pi)
        assert np.nanmax(turn) < 0.05


def test_samples_do_not_run_esm_again(predictor, monkeypatch):
    calls = []
    embed = Esm2.embed
    monkeypatch.setattr(Esm2, "embed", lambda self, tokens: calls.append(len(tokens)) or embed(self, tokens))
    predictor.fold_many([Peptide.of(MAGAININ), Peptide.of("ACDEFGHIKLMNPQRSTVWY")], samples=5)
    assert calls == [2]


def test_everything_that_comes_out_names_the_embedder(predictor, tmp_path):
    prediction = predictor.fold(MAGAININ)
    document = prediction.to_dict()
    assert document["embedder"] == predictor.embedder.esm.to_dict()
    assert document["embedder"]["kind"] == "esm2" and document["embedder"]["label"] == LABEL
    assert document["embedder"]["size"] == "2x24" and len(document["embedder"]["sha256"]) == 64
    assert document["model"]["name"] == "best" and document["model"]["embedder"] == "esm2"
    assert LABEL in " ".join(prediction.text("cif").split())
    title = "".join(line[10:] for line in prediction.text("pdb").splitlines() if line.startswith("TITLE"))
    assert LABEL.upper().replace(" ", "") in title.replace(" ", "")
    assert summary_row(prediction, ["x.cif"])[SUMMARY_COLUMNS.index("model")] == f"best on {LABEL}"
    assert Predictor(residue_model()).fold(MAGAININ).to_dict()["embedder"] == {
        "kind": "residue",
        "label": "a residue embedding learned with the model",
    }


def residue_model():
    from betafold_mlx.model.directory import LoadedModel

    model = toy_model()
    return LoadedModel(model, "toy", "0" * 64, None)


def test_the_embedder_is_found_by_its_checksum(folder, tmp_path):
    best, tiny = shutil.copytree(folder / "run" / "best", tmp_path / "run" / "best"), folder / "elsewhere"
    for place in ("weights/another-name", "run/tiny"):  # the current folder's, and beside the model
        copy = shutil.copytree(tiny / "tiny", tmp_path / place)
        shutil.copytree(tiny / "other", copy.with_name("a-other"))
        found = Predictor.load(best).embedder.esm.path
        assert found.resolve() == copy
        shutil.rmtree(copy)
        shutil.rmtree(copy.with_name("a-other"))
    with pytest.raises(BetafoldError, match="it is not there"):
        Predictor.load(best)
    shutil.copytree(tiny / "tiny", tmp_path / "weights" / ".tiny.half")  # one that is being written
    with pytest.raises(BetafoldError, match="it is not there"):
        Predictor.load(best)


def test_a_missing_embedder_says_how_to_get_it(folder):
    with pytest.raises(BetafoldError) as error:
        Predictor.load(folder / "run" / "best")
    assert LABEL in str(error.value) and "--embedder" in str(error.value)
    assert "convert it again" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("size", "published", "how"),
    [
        ("8M", True, "convert-esm facebook/esm2_t6_8M_UR50D`"),
        ("35M", None, "convert-esm facebook/esm2_t12_35M_UR50D`"),
        ("8M", False, "convert it again"),
        ("7x7", None, "convert it again"),
    ],
)
def test_what_to_convert(tmp_path, size, published, how):
    wanted = EmbedderConfig("esm2", 8, size, "a" * 64, f"x/y ({size})", published)
    with pytest.raises(BetafoldError, match=how):
        zoo.find_embedder(wanted, tmp_path / "run" / "best")


def test_another_embedder_is_refused_by_name(folder):
    with pytest.raises(BetafoldError) as error:
        Predictor.load(folder / "run" / "best", folder / "elsewhere" / "other")
    wanted, given = (
        EsmEmbedder.load(folder / "elsewhere" / name).esm.sha256[:12] for name in ("tiny", "other")
    )
    for part in (LABEL, wanted, "owner/other (1x24", given, "give the embedder that it was trained on"):
        assert part in str(error.value)
    other = EsmEmbedder.load(folder / "elsewhere" / "other")
    with pytest.raises(BetafoldError, match="and the embedder given is owner/other"):
        Predictor(load_model(folder / "run" / "best"), other)
    with pytest.raises(BetafoldError, match="and the embedder given is owner/other"):
        Predictor(residue_model(), other)


def test_a_damaged_embedder_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder / "elsewhere" / "tiny", tmp_path / "tiny")
    path = copy / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(BetafoldError, match="its sha256 differs"):
        Predictor.load(folder / "run" / "best", copy)
    with pytest.raises(BetafoldError, match="make one with convert-esm"):
        Predictor.load(folder / "run" / "best", tmp_path / "nowhere")


def test_a_model_with_its_own_embedding_takes_no_other(folder, tmp_path):
    mx.random.seed(0)
    config = ModelConfig(width=32, layers=1, heads=4, ffn_width=64)
    save_model(tmp_path / "plain", toy_model(config), "card", {})
    with pytest.raises(BetafoldError, match="model plain needs no embedder: leave out --embedder"):
        Predictor.load(tmp_path / "plain", folder / "elsewhere" / "tiny")


def test_features_that_are_not_finite_stop_the_fold(folder):
    esm = EsmEmbedder.load(folder / "elsewhere" / "tiny")
    esm.esm.model.norm.weight = mx.full((24,), mx.nan)
    with pytest.raises(BetafoldError, match=r"embedding of GIGK.* is not finite"):
        Predictor(load_model(folder / "run" / "best"), esm).fold(MAGAININ)
