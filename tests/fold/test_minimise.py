"""The minimisation against Adam in float64, on an energy that is known."""

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.fold import minimise as module
from betafold_mlx.fold.minimise import GENTLE, PULL_EVERY, USUAL, minimise


@pytest.mark.parametrize("schedule", [USUAL, GENTLE], ids=["usual", "gentle"])
def test_steps_are_those_of_adam_on_the_schedule(monkeypatch, schedule):
    steps, asked, pulled = 12, [], []
    centre = np.random.default_rng(0).uniform(-2, 2, (3, 4, 2))  # (3, L, B)

    class Bowl:
        def __init__(self, restraints, weights):
            pass

        def pull(self, angles):
            pulled.append(len(asked))
            return mx.array(np.array(angles))

        def __call__(self, angles, pull, chemistry, sterics):
            asked.append((chemistry, sterics))
            return mx.sin(angles - mx.array(centre)) + 0.1 * pull

    monkeypatch.setattr(module, "EnergyGradient", Bowl)
    start = np.random.default_rng(1).uniform(-2, 2, (2, 4, 3)).astype(np.float32)
    got = minimise(mx.array(start), None, steps=steps, schedule=schedule)

    x = start.transpose(2, 1, 0).astype(float)
    first, second, wanted = np.zeros_like(x), np.zeros_like(x), []
    for t in range(1, steps + 1):
        share = t / steps
        if t in (1, 1 + PULL_EVERY):
            held = x
        late = share > schedule.sterics_from and t % 2 == 0
        growth = np.log(5.0) * share + np.log(schedule.first_chemistry) * (1 - share)
        wanted.append((np.exp(growth), 2 if late else 0))
        slope = np.sin(x - centre) + 0.1 * held
        first, second = (
            0.9 * first + 0.1 * slope,
            0.98 * second + 0.02 * slope**2,
        )  # Kingma & Ba 2015, algorithm 1
        rate = schedule.first_rate * (1 - share) + 0.002
        x = x - rate * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.98**t)) + 1e-6)
    np.testing.assert_allclose(np.array(got), x.transpose(2, 1, 0), atol=1e-4)
    np.testing.assert_allclose(asked, wanted, rtol=1e-6)
    assert pulled == [0, PULL_EVERY]
