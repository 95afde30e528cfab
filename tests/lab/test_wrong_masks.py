import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from synthetic import toy_model

from betafold_mlx.errors import BetafoldError
from betafold_mlx.lab.wrong_masks import CHANGES, mask_wrongly
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide

SEQUENCE = "GIGKFLHSAKKF"  # 12 residues


def attention(change, padded=16):
    mx.random.seed(3)
    model = mask_wrongly(toy_model(), change)
    folded = model(collate([Peptide.of(SEQUENCE)], padded), return_attention=True)
    return np.array(folded.attention[0])[0]  # (H, L, L)


@pytest.mark.parametrize(
    ("change", "heard"),
    [(None, range(12)), ("no mask", range(16)), ("inverted", range(12, 16)), ("off by one", range(1, 13))],
)
def test_what_is_listened_to(change, heard):
    weights = attention(change)
    deaf = sorted(set(range(16)) - set(heard))
    assert (weights[:, :, deaf] == 0).all()
    assert (weights[:, :, list(heard)] > 0).all()


def test_only_a_wrong_mask_makes_padding_matter():
    for change in (None, *CHANGES):
        mx.random.seed(3)
        model = mask_wrongly(toy_model(), change)
        inputs = collate([Peptide.of(SEQUENCE)], 16)
        other = inputs._replace(residues=mx.where(inputs.mask, inputs.residues, 7))
        first, second = (np.array(model(x).torsions)[0, :12] for x in (inputs, other))
        assert np.array_equal(first, second) == (change is None)


def test_the_weights_keep_their_names():
    mx.random.seed(3)
    model = toy_model()
    before = dict(tree_flatten(model.parameters()))
    after = dict(tree_flatten(mask_wrongly(model, "no mask").parameters()))
    assert before.keys() == after.keys()
    assert all(mx.array_equal(before[name], after[name]).item() for name in before)


def test_a_pair_trunk_is_refused():
    config = ModelConfig(width=32, layers=1, heads=4, ffn_width=64, trunk="pairformer", pair_width=32)
    with pytest.raises(BetafoldError, match="pair trunk"):
        mask_wrongly(FoldingModel(config), "no mask")
