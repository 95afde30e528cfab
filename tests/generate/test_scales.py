"""Traces at several scales, and where their points stand."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from betafold_mlx.generate.chain_layout import MAX_SEPARATION, PLACE_FEATURES, make_layout
from betafold_mlx.generate.scales import canonical_axes, point_positions, resampling, scale_sizes

LENGTHS = st.integers(8, 32)
unhurried = settings(deadline=None, max_examples=60)


def random_trace(seed, size):
    return np.random.default_rng(seed).normal(size=(size, 3)).cumsum(axis=0).astype(np.float32)


def interpolated(trace, size, cyclic):
    """The same by np.interp, in float64."""
    n = len(trace)
    knots, points = np.arange(n + cyclic), point_positions(n, size, cyclic)
    closed = np.concatenate([trace, trace[:1]]) if cyclic else trace
    found = np.stack([np.interp(points, knots, column) for column in closed.astype(float).T], axis=1)
    return found - found.mean(axis=0)


def test_sizes_of_the_scales():
    assert scale_sizes(32) == (8, 16, 32)
    assert scale_sizes(21) == (6, 11, 21)
    assert scale_sizes(8) == (3, 4, 8)
    assert scale_sizes(21, scales=1) == (21,)
    assert scale_sizes(21, scales=2) == (11, 21)


@unhurried
@given(LENGTHS, st.integers(3, 32), st.booleans(), st.integers(0, 99))
def test_resampling_is_linear_interpolation(length, size, cyclic, seed):
    trace = random_trace(seed, length) + np.float32(7)
    found = resampling(length, size, cyclic) @ trace
    np.testing.assert_allclose(found, interpolated(trace, size, cyclic), atol=2e-5)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)


@unhurried
@given(st.integers(3, 8), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_down_takes_up_back_where_the_points_are_kept(size, factor, cyclic, seed):
    finer = size * factor if cyclic else (size - 1) * factor + 1
    trace = random_trace(seed, size)
    trace -= trace.mean(axis=0)
    back = resampling(finer, size, cyclic) @ resampling(size, finer, cyclic) @ trace
    np.testing.assert_allclose(back, trace, atol=1e-5)


@unhurried
@given(LENGTHS, st.integers(1, 31), st.integers(0, 99))
def test_a_ring_has_no_first_residue(length, turn, seed):
    trace = random_trace(seed, length)
    turned = np.roll(trace, -turn, axis=0)
    twice = [resampling(length, 2 * length, True) @ x for x in (trace, turned)]
    np.testing.assert_allclose(np.roll(twice[0], -2 * turn, axis=0), twice[1], atol=1e-5)


@unhurried
@given(st.integers(8, 32), st.integers(0, 99), st.booleans())
def test_the_standard_orientation_does_not_depend_on_the_first_one(length, seed, cyclic):
    trace = random_trace(seed, length)
    trace -= trace.mean(axis=0)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    axes, turned = canonical_axes(trace, cyclic), canonical_axes(trace @ rotation, cyclic)
    np.testing.assert_allclose(np.linalg.det(axes), 1, atol=1e-6)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(trace @ axes, trace @ rotation @ turned, atol=2e-3 * np.abs(trace).max())
    # A mirror image stays one: hands are not exchanged.
    mirrored = trace * [1, 1, -1]
    assert not np.allclose(mirrored @ canonical_axes(mirrored, cyclic), trace @ axes, atol=1e-2)


def test_the_longest_axis_comes_first_and_points_along_the_chain():
    line = np.zeros((20, 3))
    line[:, 1] = -3.0 * np.arange(20)
    line[:, 2] = 0.01 * np.square(np.arange(20) - 9.5)
    line -= line.mean(axis=0)
    found = line @ canonical_axes(line)
    assert (np.diff(found[:, 0]) > 2.9).all() and found[0, 1] > 0.3 < found[-1, 1]


# The layout of a batch


def test_layout_of_a_batch():
    layout = make_layout([9, 14, 16], [False, True, False], 16, 3, [None, "HHHHEEEE------", None])
    assert layout.sizes == (4, 8, 16)
    assert [np.array(mask).sum(axis=1).tolist() for mask in layout.masks] == [
        [3, 4, 4],
        [5, 7, 8],
        [9, 14, 16],
    ]
    assert [place.shape for place in layout.places] == [(3, size, PLACE_FEATURES) for size in layout.sizes]
    np.testing.assert_array_equal(np.array(layout.ups[0])[0, :5, :3], resampling(3, 5))
    np.testing.assert_array_equal(np.array(layout.ups[1])[1, :14, :7], resampling(7, 14, True))
    assert not np.array(layout.ups[0])[0, 5:].any() and not np.array(layout.ups[0])[0, :, 3:].any()
    finest = np.array(layout.states[2])
    assert finest[1, :4, 0].all() and finest[1, 4:8, 1].all() and not finest[1, 8:].any()
    assert not finest[[0, 2]].any()
    coarse = np.array(layout.states[0])[1]  # at residues 0, 3.5, 7, 10.5
    np.testing.assert_allclose(coarse[:4], [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 0]])


def test_separations_in_residues():
    layout = make_layout([16, 12], [False, True], 16, 3)
    offsets = np.array(layout.separations) - MAX_SEPARATION
    finest = slice(12, 28)
    np.testing.assert_array_equal(offsets[0, finest, finest], np.arange(16)[:, None] - np.arange(16)[None, :])
    assert offsets[0, 27, 0] == 15 and offsets[0, 0, 3] == -15  # between scales, in residues too
    ring = offsets[1, 12:24, 12:24]
    assert np.abs(ring).max() == 6 and ring[0, 11] == 1 and ring[11, 0] == -1
    assert ring[1, 3] == -2 == ring[11, 1]
