"""What a language model adds: a residue embedding, ESM-2's architecture with random weights, and a converted ESM-2."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from betafold_mlx.data.fill import Embed, FillReporter, fill_cache
from betafold_mlx.esm.converted import LoadedEsm, describe_esm
from betafold_mlx.esm.embedder import EsmEmbedder
from betafold_mlx.esm.model import Esm2
from betafold_mlx.esm.sizes import SIZES, EsmConfig
from betafold_mlx.lab.comparison import usual_report
from betafold_mlx.lab.runner import Lab, LabReport
from betafold_mlx.lab.series import Variant, base_config, changed, train_series
from betafold_mlx.model.config import EmbedderConfig

BASELINE = "residue embedding"
RANDOM = "random ESM-2 8M"
WEIGHTS_SEED = 0


def run_embeddings(lab: Lab) -> LabReport:
    """Train on each kind of features: the same windows, steps and seeds."""
    base = base_config(lab.budget, fixed_windows=True)
    variants = [Variant(BASELINE, base)]
    lab.say(f"{RANDOM}: embedding the data set")
    variants.append(_frozen(lab, RANDOM, random_embedder(), lambda: random_esm().embed))
    notes = [
        f"All variants train on the same {lab.budget.windows} windows. The random network has ESM-2's architecture and "
        "weights drawn as for a new network: what it adds is mixing by position, not knowledge."
    ]
    if lab.embedder is not None:
        directory = Path(lab.embedder)
        known = describe_esm(directory)
        lab.say(f"{known.label}: embedding the data set")
        name = f"ESM-2 {known.config.size}" + ("" if known.published else " (weights not known)")
        variants.append(
            _frozen(lab, name, known.embedder_config(), lambda: EsmEmbedder.load(directory).embed)
        )
        notes.append(f"{name}: {known.label}.")
    else:
        notes.append("No converted ESM-2 was given (--embedder DIR): what real weights add was not measured.")
    report = usual_report(train_series(lab, variants), BASELINE, "Embeddings")
    report.notes += notes
    return report


def random_esm(size: str = "8M") -> EsmEmbedder:
    """Return an ESM-2 with the weights of a new network, from a fixed seed."""
    embedder = random_embedder(size)
    config = EsmConfig(*SIZES[size])
    mx.random.seed(WEIGHTS_SEED)
    model = Esm2(config)
    model.freeze()
    assert embedder.sha256 is not None
    esm = LoadedEsm(
        model=model,
        config=config,
        name=f"random weights, seed {WEIGHTS_SEED}",
        sha256=embedder.sha256,
        source_sha256="",
        dtype="float32",
        path=Path(),
    )
    return EsmEmbedder(esm)


def random_embedder(size: str = "8M") -> EmbedderConfig:
    """Return how models name the random network: it is a function of its size, the seed and MLX's generator."""
    name = f"random weights, seed {WEIGHTS_SEED}, mlx {version('mlx')}"
    sha256 = hashlib.sha256(f"{size} {name}".encode()).hexdigest()
    return EmbedderConfig("esm2", SIZES[size][1], size, sha256, f"ESM-2 {size}, {name}", False)


class _Tell(FillReporter):
    """Passes on how far the embedding is, every few hundred sequences."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._total, self._done = lab, 0, 0

    def begin(self, sequences: int) -> None:
        self._total = sequences

    def say(self, text: str) -> None:
        self._lab.say(text)

    def advance(self, sequences: int) -> None:
        self._done += sequences
        self._lab.say(f"embedded {self._done} of {self._total} sequences")


def _frozen(lab: Lab, name: str, embedder: EmbedderConfig, load: Callable[[], Embed]) -> Variant:
    """Embed the data set, and return the variant that trains on it."""
    assert embedder.sha256 is not None
    fingerprint = hashlib.sha256(f"{lab.dataset_sha256} {lab.budget.items}".encode()).hexdigest()
    cache = lab.directory / "embeddings" / f"{embedder.sha256:.12}-{lab.budget.windows}-{lab.budget.items}"
    filled = fill_cache(
        cache,
        lab.small_dataset,
        fingerprint,
        embedder,
        load,
        windows=lab.budget.windows,
        seed=0,
        reporter=_Tell(lab),
    )
    config = changed(base_config(lab.budget, fixed_windows=True), "network", embedder=embedder)
    return Variant(name, config, featurizer=filled.cache)
