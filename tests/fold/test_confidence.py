"""The lDDT expected under a distogram, against draws of true distances."""

import mlx.core as mx
import numpy as np
import pytest
from synthetic import backbone_of, random_sequence

from betafold_mlx.fold.confidence import confidence_features, expected_lddt
from betafold_mlx.fold.ensemble import refine
from betafold_mlx.geometry.metrics import LDDT_RADIUS, LDDT_THRESHOLDS, lddt
from betafold_mlx.model.config import ModelConfig
from betafold_mlx.model.folding import FoldingModel
from betafold_mlx.model.heads import BINS, EDGES, FEATURES
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.sequence import Peptide


def structure(seed=0, length=8):
    rng = np.random.default_rng(seed)
    return backbone_of(random_sequence(rng, length), rng, noise=20)[:, 1].astype(np.float64)


def test_it_is_the_ratio_of_expectations_over_true_distances():
    rng = np.random.default_rng(0)
    ca = structure()
    logits = rng.normal(scale=2, size=(8, 8, BINS))
    logits = (logits + logits.swapaxes(0, 1)) / 2
    got = np.array(
        expected_lddt(
            mx.softmax(mx.array(logits), axis=-1)[None], mx.array(ca)[None, None], mx.ones((1, 8)) > 0
        )
    )[0, 0]

    low, high = np.concatenate([[3.6], EDGES]), np.concatenate([EDGES, [44.0]])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    modelled = np.linalg.norm(ca[:, None] - ca, axis=-1)
    kept, counted = np.zeros((8, 8)), np.zeros((8, 8))
    for i, j in np.ndindex(8, 8):
        if i != j:
            bins = rng.choice(BINS, size=20000, p=p[i, j])
            true = rng.uniform(low[bins], high[bins])
            near = true <= LDDT_RADIUS
            counted[i, j] = near.mean()
            off = np.abs(true - modelled[i, j])
            kept[i, j] = np.mean([(near & (off <= t)).mean() for t in LDDT_THRESHOLDS])
    # modelled distances are rounded to a quarter of an Angstrom
    np.testing.assert_allclose(got, kept.sum(1) / counted.sum(1), atol=0.02)


def test_a_modelled_distance_counts_as_the_nearest_quarter_of_an_angstrom():
    """Pairs by themselves, one distance each: the share of each bin that agrees, from lengths of intervals."""
    quarters = np.arange(13, 80, 3) / 4
    low, high = np.concatenate([[3.6], EDGES]), np.concatenate([EDGES, [44.0]])
    want = np.zeros((len(quarters), BINS))
    for threshold in LDDT_THRESHOLDS:
        ends = np.minimum(np.minimum(high, LDDT_RADIUS), quarters[:, None] + threshold)
        agrees = np.maximum(ends - np.maximum(low, quarters[:, None] - threshold), 0)
        want += agrees / (high - low) / len(LDDT_THRESHOLDS)
    flat = want.sum(axis=1) / (np.clip(LDDT_RADIUS - low, 0, high - low) / (high - low)).sum()
    for off in (-0.12, 0.0, 0.12):
        ca = np.zeros((len(quarters), 1, 2, 3))
        ca[:, 0, 1, 0] = quarters + off
        alike = mx.full((len(quarters), 2, 2, BINS), 1 / BINS)
        got = np.array(expected_lddt(alike, mx.array(ca), mx.ones((len(quarters), 2)) > 0))
        np.testing.assert_allclose(got, np.stack([flat, flat], axis=-1)[:, None], rtol=1e-4)


def test_a_sure_distogram_expects_the_true_lddt():
    true, model = (
        structure(1, 12),
        structure(1, 12) + np.random.default_rng(2).normal(scale=1.0, size=(12, 3)),
    )
    place = np.digitize(np.linalg.norm(true[:, None] - true, axis=-1), EDGES)
    logits = np.where(np.arange(BINS) == place[..., None], 0.0, -50.0)
    mask = mx.array(np.arange(16)[None] < 12)
    padded = [np.pad(x, ((0, 4), (0, 0))) for x in (true, model)]
    logits = np.pad(logits, ((0, 4), (0, 4), (0, 0)))
    got = np.array(
        expected_lddt(mx.softmax(mx.array(logits), axis=-1)[None], mx.array(padded[1])[None, None], mask)
    )[0, 0, :12]
    want = np.array(lddt(mx.array(padded[1]), mx.array(padded[0]), mask[0]))[:12]
    np.testing.assert_allclose(
        got, want, atol=0.12
    )  # a bin is half an Angstrom wide, the tightest threshold too
    assert abs((got - want).mean()) < 0.03


def logit(share):
    share = np.clip(share, 0.02, 0.98)
    return np.log(share / (1 - share))


def test_features_are_what_they_say():
    mx.random.seed(0)
    model = FoldingModel(ModelConfig(width=32, layers=1, heads=4, ffn_width=64))
    peptides = [Peptide.of("GIGKFLHSAKKF"), Peptide.of("ACDEFGHIKLMNPQ", cyclic=True)]
    inputs = collate(peptides, 16)
    folded = model(inputs)
    ensemble = refine(folded, inputs, 0, range(2))
    share = np.random.default_rng(0).random((2, 16)).astype(np.float32)
    ensemble = ensemble._replace(template_share=mx.array(share))
    got = np.array(confidence_features(folded, ensemble))
    mixture, restraints = folded.mixture, ensemble.restraints
    centre, k = (np.array(part, dtype=float) for part in (mixture.centre, mixture.concentration))
    tight, far = (np.array(part, dtype=float) for part in (restraints.tightness, restraints.distance))
    for row, sample in np.ndindex(2, 2):
        n = len(peptides[row])
        ca = ensemble.coordinates[row, sample, :, 1]
        lddt_here = expected_lddt(
            ensemble.probability[row : row + 1], ca[None, None], inputs.mask[row : row + 1]
        )
        want = {
            "expected_lddt": logit(np.array(lddt_here, dtype=float)[0, 0, :n]),
            "state_plddt": logit(np.array(folded.plddt, dtype=float)[row, :n] / 100),
            "log_length": np.full(n, np.log(n / 20)),
            "template_share": share[row, :n],
        }
        density, strain, x = np.zeros(n), np.zeros(n), np.array(ca, dtype=float)
        for i in range(n):
            # (phi, psi) under the mixture; the ends of the chain have one of them, in a ring too
            each = np.exp(k * np.cos(np.array(ensemble.torsions[row, sample, i, :2], dtype=float) - centre))
            known = [i > 0, i < n - 1]
            each = np.where(known, each / (2 * np.pi * np.i0(k)), 1.0).prod(axis=1)
            weights = np.exp(np.array(mixture.log_weights, dtype=float)[row, i])
            density[i] = np.clip(np.log(weights @ each), -6, 3)
            for j in range(n):
                off = np.linalg.norm(x[i] - x[j]) - far[row, i, j]
                strain[i] += off**2 * tight[row, min(i, j), max(i, j)]
        want["torsion_density"] = density
        want["strain_mean"] = np.full(n, np.log(strain.mean() + 0.1))
        for name in ("expected_lddt", "state_plddt", "torsion_density"):
            want[f"{name}_mean"] = np.full(n, want[name].mean())
        for number, name in enumerate(FEATURES):
            np.testing.assert_allclose(
                got[row, sample, :n, number], want[name], rtol=1e-3, atol=1e-3, err_msg=name
            )


@pytest.mark.parametrize("cyclic", [False, True])
def test_features_do_not_feel_the_batch(cyclic):
    mx.random.seed(0)
    model = FoldingModel(ModelConfig(width=32, layers=1, heads=4, ffn_width=64))
    peptides = [Peptide.of("GIGKFLHSAKKF", cyclic=cyclic), Peptide.of("ACDEFGHIKLMNPQ")]

    def features(chosen, numbers):
        inputs = collate(chosen, 16)
        folded = model(inputs)
        return np.array(confidence_features(folded, refine(folded, inputs, 0, numbers)))

    together = features(peptides, range(2))
    assert together.shape == (2, 2, 16, len(FEATURES)) and np.isfinite(together).all()
    np.testing.assert_allclose(features(peptides[:1], [1])[0, 0, :12], together[0, 1, :12], atol=0.05)
