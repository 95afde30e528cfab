"""The judge: what it sees, what it must not depend on, and its file."""

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry import build_backbone
from betafold_mlx.model.attention import relative_positions
from betafold_mlx.model.companions import JUDGE
from betafold_mlx.model.config import JudgeConfig
from betafold_mlx.model.directory import save_arrays
from betafold_mlx.model.judge import (
    PAIR_FEATURES,
    SHELL_WIDTH,
    SHELLS,
    Judge,
    JudgeInputs,
    Verdict,
    pair_features,
    scale_features,
)

CONFIG = JudgeConfig(states=12, features=5, width=16, layers=2, heads=4, ffn_width=24, pair_width=8)
LENGTHS = [9, 6]
SAMPLES = 3


def make_inputs(lengths=LENGTHS, padded=12, samples=SAMPLES, seed=0) -> JudgeInputs:
    """Make random candidates of peptides with ideal geometry."""
    rng = np.random.default_rng(seed)
    batch = len(lengths)
    mask = np.arange(padded) < np.array(lengths)[:, None]
    bonded = np.zeros((batch, padded, padded), bool)
    bonded[:, 1, 5] = bonded[:, 5, 1] = True
    torsions = mx.array(rng.uniform(-2, 2, (batch * samples, padded, 3)).astype(np.float32))
    residues = mx.zeros((batch * samples, padded), mx.int32)
    built = build_backbone(torsions, residues, mx.array(np.repeat(mask, samples, axis=0)))

    def normal(*shape):
        return mx.array(rng.normal(size=shape).astype(np.float32))

    return JudgeInputs(
        states=normal(batch, padded, CONFIG.states),
        mask=mx.array(mask),
        relative=relative_positions(mx.array(lengths), mx.zeros(batch, mx.bool_), padded),
        bonded=mx.array(bonded),
        distance=6 + mx.abs(normal(batch, padded, padded)),
        spread=1 + mx.abs(normal(batch, padded, padded)),
        coordinates=built[..., :4, :].reshape(batch, samples, padded, 4, 3),
        features=normal(batch, samples, padded, CONFIG.features),
    )


def made_judge(seed=3) -> Judge:
    """Make a judge none of whose weights is zero."""
    mx.random.seed(seed)
    judge = Judge(CONFIG)
    judge.separation.separation.weight = mx.random.normal(judge.separation.separation.weight.shape)
    judge.separation.disulfide = mx.random.normal(judge.separation.disulfide.shape)
    return judge


def close(found: Verdict, expected: Verdict, mask, tolerance=2e-4):
    kept = np.broadcast_to(np.array(mask)[:, None], found.lddt_logits.shape)
    assert np.allclose(
        np.array(found.lddt_logits)[kept], np.array(expected.lddt_logits)[kept], atol=tolerance
    )
    assert np.allclose(found.log_rmsd, expected.log_rmsd, atol=tolerance)


def turned(inputs: JudgeInputs, matrix) -> JudgeInputs:
    moved = inputs.coordinates @ mx.array(matrix.astype(np.float32)) + mx.array([3.0, -7.0, 11.0])
    return inputs._replace(coordinates=moved * inputs.mask[:, None, :, None, None])


def rotation(seed=1) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def test_it_does_not_see_where_a_structure_is_but_it_sees_its_hand():
    judge, inputs = made_judge(), make_inputs()
    verdict = judge(inputs)
    close(judge(turned(inputs, rotation())), verdict, inputs.mask, 2e-4)
    mirrored = judge(turned(inputs, -rotation()))
    apart = (
        np.abs(np.array(mirrored.lddt_logits) - np.array(verdict.lddt_logits))
        * np.array(inputs.mask)[:, None]
    )
    assert apart.max(axis=-1).min() > 2e-3


def test_padding_and_company_change_nothing():
    judge, inputs = made_judge(), make_inputs()
    verdict = judge(inputs)
    longer = make_inputs()
    noise = 5.0 * mx.random.normal(inputs.states.shape) * ~inputs.mask[..., None]
    longer = longer._replace(
        states=inputs.states + noise, distance=inputs.distance + ~inputs.mask[:, None] * 4.0
    )
    close(judge(longer), verdict, inputs.mask)
    one = {name: array[1:] for name, array in inputs._asdict().items()}
    one["coordinates"], one["features"] = one["coordinates"][:, 2:], one["features"][:, 2:]
    alone = judge(JudgeInputs(**one))
    assert np.allclose(alone.log_rmsd[0, 0].item(), verdict.log_rmsd[1, 2].item(), atol=2e-4)


@pytest.mark.parametrize(
    "name", ["states", "relative", "bonded", "distance", "spread", "coordinates", "features"]
)
def test_everything_it_is_shown_counts(name):
    judge, inputs = made_judge(), make_inputs()
    array = getattr(inputs, name)
    other = ~array if array.dtype == mx.bool_ else mx.roll(array, 1, axis=0)
    if name == "relative":
        other = -array
    changed = judge(inputs._replace(**{name: other}))
    assert np.abs(np.array(changed.log_rmsd) - np.array(judge(inputs).log_rmsd)).max() > 1e-4


def test_the_features_of_a_pair_are_those_of_float64():
    inputs = make_inputs(lengths=[8], samples=1)
    found = np.array(pair_features(inputs))[0, 0]
    assert found.shape == (12, 12, PAIR_FEATURES)
    n, ca, c, o = np.array(inputs.coordinates, np.float64)[0, 0].transpose(1, 0, 2)
    frames = []
    for k in range(8):
        x = (c[k] - ca[k]) / np.linalg.norm(c[k] - ca[k])
        y = n[k] - ca[k] - ((n[k] - ca[k]) @ x) * x
        y /= np.linalg.norm(y)
        frames.append(np.stack([x, y, np.cross(x, y)], axis=1))
    distance, spread = (np.array(array, np.float64)[0] for array in (inputs.distance, inputs.spread))
    for i in range(8):
        for j in range(8):
            apart = np.linalg.norm(ca[j] - ca[i])
            expected = [
                *np.exp(-(((apart - np.array(SHELLS)) / SHELL_WIDTH) ** 2)),
                *(frames[i].T @ (ca[j] - ca[i]) / (apart + 1)),
                *(frames[i].T @ frames[j]).ravel(),
                np.exp(-(((np.linalg.norm(n[i] - o[j]) - 2.9) / 0.6) ** 2)),
                np.exp(-(((np.linalg.norm(n[j] - o[i]) - 2.9) / 0.6) ** 2)),
                np.clip((apart - distance[i, j]) / spread[i, j], -4, 4),
                np.log(spread[i, j]),
                min(apart, 40) / 20,
            ]
            assert np.allclose(found[i, j], expected, atol=1e-4)


def test_the_plddt_is_a_logistic_regression():
    judge, inputs = made_judge(), make_inputs()
    judge.scale = mx.array([0.7, 0.2, -0.4, 0.1])
    verdict = judge(inputs)
    logits, mask = np.array(verdict.lddt_logits, np.float64), np.array(inputs.mask)
    for row, n in enumerate(LENGTHS):
        for sample in range(SAMPLES):
            own = logits[row, sample, :n]
            value = 0.7 * own + 0.2 * own.mean() - 0.4 * verdict.log_rmsd[row, sample].item() + 0.1
            found = np.array(judge.plddt(verdict, inputs.mask))[row, sample, :n]
            assert np.allclose(found, 100 / (1 + np.exp(-value)), atol=1e-3)
    assert scale_features(verdict, mx.array(mask)).shape == (*logits.shape, 3)
    assert "scale" not in dict(judge.trainable_parameters())


def test_a_judge_comes_back_from_its_file(tmp_path):
    judge, inputs = made_judge(), make_inputs()
    JUDGE.save(tmp_path, judge, "a" * 64)
    again = JUDGE.load(tmp_path, "a" * 64)
    assert again.config == CONFIG
    close(again(inputs), judge(inputs), inputs.mask, 0.05)  # half precision


def test_a_judge_of_another_network_or_a_damaged_one_is_refused(tmp_path):
    JUDGE.save(tmp_path, made_judge(), "a" * 64)
    path = tmp_path / JUDGE.file
    with pytest.raises(BetafoldError, match="another folding network"):
        JUDGE.load(tmp_path, "b" * 64)
    arrays = mx.load(str(path))
    save_arrays(path, arrays, {"schema_version": "9"})
    with pytest.raises(BetafoldError, match="another version"):
        JUDGE.load(tmp_path, "a" * 64)
    save_arrays(
        path, arrays, {"schema_version": "1", "model_sha256": "a" * 64, "config": '{"width": "wide"}'}
    )
    with pytest.raises(BetafoldError, match="judge"):
        JUDGE.load(tmp_path, "a" * 64)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BetafoldError, match="safetensors"):
        JUDGE.load(tmp_path, "a" * 64)
