"""Sampling traces: what a sample depends on, coarse shapes, motifs."""

import mlx.core as mx
import numpy as np
import pytest
from generate_fakes import TINY, shaken

from betafold_mlx.errors import BetafoldError
from betafold_mlx.generate.generator_config import GeneratorConfig, SamplingConfig
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.generate.sampler import SAMPLES_TOGETHER, SampleSpec, sample_traces
from betafold_mlx.generate.scales import resampling

QUICK = SamplingConfig(steps=6, ode_steps=2)


@pytest.fixture(scope="module")
def model():
    return shaken(TINY, size=0.05)


@pytest.fixture(scope="module")
def new():
    """A network that is not trained: the best linear guess, without noise in what it adds."""
    mx.random.seed(0)
    return BackboneGenerator(TINY)


def sample(model, lengths, seed, numbers, config=QUICK, **prompts):
    """Sample chains; `prompts` are fields of `SampleSpec`, one value a sample."""
    specs = [
        SampleSpec(length, number, **{name: values[row] for name, values in prompts.items()})
        for row, (length, number) in enumerate(zip(lengths, numbers, strict=True))
    ]
    return sample_traces(model, specs, seed, config)


def kabsch(mobile, target):
    """RMSD after the best superposition, by singular values in float64."""
    a, b = (np.asarray(x, float) - np.mean(x, axis=0) for x in (mobile, target))
    u, s, vt = np.linalg.svd(a.T @ b)
    s[-1] *= np.sign(np.linalg.det(u @ vt))
    return np.sqrt(max(0.0, (np.square(a).sum() + np.square(b).sum() - 2 * s.sum()) / len(a)))


def helix(size):
    turn = np.radians(100.0) * np.arange(size)
    return np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(size)], axis=1)


def test_shapes_and_centres(model):
    lengths = [8, 17, 32]
    traces = sample(model, lengths, 0, [0, 1, 2], QUICK)
    assert [trace.shape for trace in traces] == [(length, 3) for length in lengths]
    for trace in traces:
        assert trace.dtype == np.float32 and np.isfinite(trace).all()
        np.testing.assert_allclose(trace.mean(axis=0), 0, atol=1e-4)
    assert sample(model, [], 0, [], QUICK) == []


def test_a_sample_does_not_depend_on_its_company(model):
    lengths = [(8, 13, 16, 20, 24, 32)[number % 6] for number in range(2 * SAMPLES_TOGETHER + 5)]
    numbers = list(range(len(lengths)))
    many = sample(model, lengths, 7, numbers, QUICK)
    for number in (0, 3, SAMPLES_TOGETHER, SAMPLES_TOGETHER + 7, 2 * SAMPLES_TOGETHER + 4):
        (one,) = sample(model, [lengths[number]], 7, [number], QUICK)
        assert np.array_equal(one, many[number])
    order = np.random.default_rng(0).permutation(len(numbers)).tolist()
    shuffled = sample(model, [lengths[n] for n in order], 7, order, QUICK)
    assert all(np.array_equal(trace, many[n]) for trace, n in zip(shuffled, order, strict=True))


def test_prompts_of_others_change_nothing(model):
    plain = sample(model, [16] * 3, 1, [0, 1, 2], QUICK)
    asked = sample(
        model, [16] * 3, 1, [0, 1, 2], QUICK,
        shape=[None, helix(5), None], motif=[None, None, (3, helix(6))],
        secondary=[None, "H" * 16, None],
    )  # fmt: skip
    assert np.array_equal(plain[0], asked[0])
    assert not np.allclose(plain[1], asked[1]) and not np.allclose(plain[2], asked[2])


def test_numbers_and_seeds_give_other_samples(model):
    a, b = sample(model, [16, 16], 1, [0, 1], QUICK)
    (c,) = sample(model, [16], 2, [0], QUICK)
    assert np.abs(a - b).max() > 1 and np.abs(a - c).max() > 1
    again = sample(model, [16, 16], 1, [5, 5], QUICK)  # the same number twice
    assert np.array_equal(*again)


def test_rings_and_secondary_structure_reach_the_network(model):
    plain, ring, asked = (
        sample(model, [16], 1, [0], QUICK, cyclic=[cyclic], secondary=[text])[0]
        for cyclic, text in ((False, None), (True, None), (False, "H" * 16))
    )
    assert np.abs(plain - ring).max() > 1e-3 and np.abs(plain - asked).max() > 1e-3


def test_gamma_widens_the_first_scale(new):
    spread = []
    for gamma in (0.1, 1.0):
        traces = sample(new, [16] * 40, 0, range(40), SamplingConfig(40, 2, gamma))
        spread.append(np.std([resampling(16, 4) @ trace for trace in traces]))
    assert spread[0] < 0.7 * spread[1]


# Coarse shapes


BENT = np.array([[0, 0, 0], [12, 0, 0], [20, 8, 0], [20, 20, 5.0]])


def test_a_coarse_shape_is_followed_where_it_stands(new):
    wanted = BENT - BENT.mean(axis=0)
    free = sample(new, [16] * 8, 0, range(8), QUICK)
    bound = sample(new, [16] * 8, 0, range(8), QUICK, shape=[BENT] * 8)
    off = [np.sqrt(np.square(resampling(16, 4) @ t - wanted).sum(axis=1).mean()) for t in bound]
    assert max(off) < 4.0 < min(kabsch(resampling(16, 4) @ t, wanted) for t in free) + 1.0
    np.testing.assert_allclose(np.mean([resampling(16, 4) @ t for t in bound], axis=0), wanted, atol=2.0)


def test_a_finer_shape_takes_the_place_of_the_second_scale_too(new):
    fine = np.repeat(BENT, 2, axis=0) + np.tile([[0, 0, 0], [3.0, 3.0, 3.0]], (4, 1))  # a zigzag of 8 points
    wanted = fine - fine.mean(axis=0)
    by_eight, by_four = (
        np.mean(
            [resampling(16, 8) @ t for t in sample(new, [16] * 16, 0, range(16), QUICK, shape=[shape] * 16)],
            axis=0,
        )
        for shape in (fine, resampling(8, 4) @ fine)
    )
    assert kabsch(by_eight, wanted) < 0.8 < kabsch(by_four, wanted)


def test_fewer_points_than_the_first_scale_are_interpolated(new):
    three = np.array([[0.0, 0, 0], [20, 5, 0], [40, 0, 0]])
    (trace,) = sample(new, [32], 0, [0], QUICK, shape=[three])
    wanted = three - three.mean(axis=0)
    assert kabsch(resampling(32, 3) @ trace, wanted) < 4.0


def test_shapes_differ_in_position_alone(model):
    moved = BENT + 100.0
    a, b = (sample(model, [16], 0, [0], QUICK, shape=[shape])[0] for shape in (BENT, moved))
    np.testing.assert_allclose(a, b, atol=1e-3)


# Motifs


@pytest.mark.parametrize(("length", "start", "size"), [(24, 7, 8), (16, 0, 16), (30, 25, 5), (20, 3, 1)])
@pytest.mark.parametrize("cyclic", [False, True])
def test_a_motif_is_kept_exactly(model, length, start, size, cyclic):
    motif = (start, helix(size) + 50.0)
    traces = sample(model, [length] * 3, 3, [0, 1, 2], QUICK, motif=[motif] * 3, cyclic=[cyclic] * 3)
    for trace in traces:
        assert kabsch(trace[start : start + size], motif[1]) < 1e-3
    if size < length:
        assert np.abs(traces[0] - traces[1]).max() > 0.1


def test_a_motif_keeps_its_hand(model):
    motif = (4, helix(10) * [1, 1, -1])
    (trace,) = sample(model, [20], 0, [0], QUICK, motif=[motif])
    assert kabsch(trace[4:14], motif[1]) < 1e-3 < 0.5 < kabsch(trace[4:14], helix(10))


def test_one_scale():
    one = shaken(GeneratorConfig(scales=1, width=32, layers=1, decoder_layers=1, heads=4, ffn_width=64))
    assert sample(one, [12], 0, [0])[0].shape == (12, 3)


@pytest.mark.parametrize(
    "values", [{"steps": 0}, {"ode_steps": 0}, {"gamma": -0.1}, {"gamma": float("nan")}, {"steps": 2.5}]
)
def test_impossible_settings(values):
    with pytest.raises(BetafoldError, match=next(iter(values))):
        SamplingConfig(**{"steps": 10, **values})
