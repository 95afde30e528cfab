"""What a step of a pair trunk costs, by a formula: the same on every machine, so that variants get equal shares.

Three things take time: multiply-adds of matrix products, which grow as the square of the width of the pairs; what is
done to every number of every pair by itself (LayerNorm, gates, sums, copies), which grows as the width; and the rest of
the network, its losses and its update, which hardly grow. Counted in multiply-adds alone, a narrow trunk would look
eight times cheaper than it is.
"""

from __future__ import annotations

from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.distogram import BINS
from betafold_mlx.model.pairformer import DISTOGRAM_HIDDEN, TRANSITION

PER_NUMBER = 3_000
"""Multiply-adds that take as long as what an update of the pairs does to one number of a pair by itself."""
PER_RESIDUE = 12_000_000
"""The same of all that is not done to pairs, for a residue. Both are rounded from a least-squares fit to the processor
time of training steps of ten trunks of 32 to 256 channels and 1 to 8 blocks (residues: 4 blocks of 96; AMD EPYC,
OpenBLAS, one thread), which it meets within a fifth. `betafold-mlx lab width` measures the steps again."""


def multiply_adds(network: ModelConfig, length: int) -> int:
    """Return the multiply-adds of the matrix products for one peptide, forward.

    Of the pair trunk and the distance head; the heads of residues are the same for all widths, and a thousandth of it.

    Parameters
    ----------
    network : ModelConfig
        With a pair trunk.
    length : int
        Padded residues n.
    """
    n, width, pair = length, network.width, network.pair_width
    residues = n * (4 * width * width + 2 * width * network.ffn_width) + 2 * n * n * width  # of a block
    speak = n * width * 4 * pair + n * n * pair * pair
    sides = pair // 2
    multiplication = n * n * (pair * (4 * sides + pair) + sides * n + sides * pair)
    projections = n * n * (pair * (4 * pair + network.triangle_heads) + pair * pair)
    if network.triangle == "additive":
        attention = n * n * pair * (2 * pair // network.triangle_heads + n)
    else:
        attention = n * n * pair * 2 * n
    transition = n * n * 2 * TRANSITION * pair * pair
    bias = n * n * pair * network.heads
    update = speak + 2 * multiplication + 2 * (projections + attention) + transition + bias
    head = n * n * DISTOGRAM_HIDDEN * (pair + BINS)
    return network.layers * residues + network.pair_blocks * update + head


def cost(network: ModelConfig, length: int) -> int:
    """Return `multiply_adds`, and those that would take as long as all else: the work of one peptide in a step."""
    numbers = network.pair_blocks * length * length * network.pair_width
    return multiply_adds(network, length) + PER_NUMBER * numbers + PER_RESIDUE * length
