"""What a stated bond may measure, from the aim of the minimisation to what counts as formed."""

from betafold_mlx.fold import closing, fitting, gradient
from betafold_mlx.geometry.checks import DISULFIDE_DISTANCE


def test_the_ranges_of_a_disulfide_lie_in_one_another():
    """Each step aims inside what the next one accepts: what is closed stays as it is, and counts as formed."""
    low, high = closing.BRIDGE_CB
    assert DISULFIDE_DISTANCE[0] < low - closing.BRIDGE_TOLERANCE
    assert low < fitting.DISULFIDE_CB[0] < gradient.BRIDGE_CB < fitting.DISULFIDE_CB[1] < high
    assert high + closing.BRIDGE_TOLERANCE < DISULFIDE_DISTANCE[1]
    assert 3.8 < closing.BRIDGE_CA[0] < gradient.BRIDGE_CA[0] < gradient.BRIDGE_CA[1] < closing.BRIDGE_CA[1]
    assert closing.BRIDGE_CA[1] <= 6.8  # Hazes & Dijkstra 1988: 3.8 to 6.8
