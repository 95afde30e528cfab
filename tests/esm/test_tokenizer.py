"""ESM-2's vocabulary and token rows. (tests/esm/test_transformers.py compares with the tokenizer of transformers.)"""

import numpy as np
import pytest

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm.tokenizer import CLS, EOS, MASK, PAD, RESIDUES, TOKENS, encode, tokenize


def test_the_vocabulary_is_that_of_the_checkpoints():
    typed_in_again = (
        "<cls> <pad> <eos> <unk> L A G V S E R T I D P K Q N F Y M H W C X B U Z O . - <null_1> <mask>"
    )
    assert typed_in_again.split() == list(TOKENS)
    assert (CLS, PAD, EOS, MASK, len(TOKENS)) == (0, 1, 2, 32, 33)
    assert set(RESIDUES) == set("ACDEFGHIKLMNPQRSTVWY") | set("XBZUO") and len(RESIDUES) == 25


def test_a_row():
    assert tokenize("GIG<mask>XBUZO.-").tolist() == [0, 6, 12, 6, 32, 24, 25, 26, 27, 28, 29, 30, 2]
    assert tokenize("<unk><null_1>").tolist() == [0, 3, 31, 2]
    assert tokenize("M").dtype == np.int32


@pytest.mark.parametrize(
    ("sequence", "message"),
    [
        ("", "empty"),
        ("GIJG", "'J' at position 3"),
        ("GIg", "'g' at position 3"),
        ("G G", "' ' at position 2"),
        ("A<mask>1", "'1' at position 3"),
        ("AC<cls>", "'<cls>' at position 3"),
        ("<pad>", "'<pad>' at position 1"),
        ("<eos>A", "'<eos>' at position 1"),
        ("<MASK>", "'<' at position 1"),
        ("A<masked>", "'<masked>' at position 2"),
        ("ALPHA\u03b1", "'\u03b1' at position 6"),
        ("A\nC", r"'\\n' at position 2"),
    ],
)
def test_what_has_no_token(sequence, message):
    with pytest.raises(BetafoldError, match=message):
        tokenize(sequence)


def test_batches():
    batch = encode(["GIGKFLH", "M"])  # 9 and 3 tokens
    assert batch.shape == (2, 16) and batch.dtype == np.int32
    assert batch[1].tolist() == [CLS, TOKENS.index("M"), EOS] + [PAD] * 13
    assert (batch[0, 9:] == PAD).all() and batch[0, 8] == EOS
    assert encode(["GIGKFL"]).shape == (1, 8)  # no more padding than needed
