"""Training examples: windows cut from chains, and whole peptides, drawn at random.

Batch number t is a function of the seed and t alone. A resumed run therefore sees exactly the batches that it would
have seen, with no generator state to store.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from betafold_mlx.data.plan import chain_weights, inverse_cluster_size, plan_windows
from betafold_mlx.data.sampling import SamplerConfig
from betafold_mlx.data.store import Dataset, Record
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import ALPHABET, TRAINED_LENGTHS, Peptide
from betafold_mlx.peptide.substitution import substitution_probabilities

KIND_WEIGHTS = {"free": 1.0, "oligomer": 1.0, "bound": 0.5, "chain": 0.3, "mhc_bound": 0.1, "segment": 0.1}
"""How often peptides of a kind are drawn. An MHC groove stretches its peptides by force, whatever their sequence.
Chains and segments that are no longer than peptides count as such."""

AS_OBSERVED = 0.2
"""Share of the examples that keep their own sequence where others have residues substituted."""


@dataclass(frozen=True)
class Window:
    """One training example."""

    peptide: Peptide  # sequence and the chemistry that is stated to the network
    coordinates: np.ndarray  # (L, 4, 3) float32 Angstrom: N, CA, C, O
    # how much it counts in the loss of the confidence: nothing where the structure is a prediction
    # (`betafold_mlx.data.mix`)
    confidence: float = 1.0
    # (L, 4) float32 radians, NaN where unknown; None where the data set has no side chains
    chi: np.ndarray | None = None


def cut_window(dataset: Dataset, record: Record, start: int, length: int) -> Window:
    """Return `length` residues of a chain from the 0-based residue `start`, with the disulfides inside them."""
    stop = start + length
    pairs = tuple((i - start, j - start) for i, j in record.disulfides if i > start and j <= stop)
    rows = slice(record.start + start, record.start + stop)
    chi = None if dataset.chi is None else dataset.chi[rows]
    peptide = Peptide.of(record.sequence[start:stop], False, pairs)
    return Window(peptide, dataset.coordinates[rows], chi=chi)


def whole_window(dataset: Dataset, record: Record) -> Window:
    """Return a whole peptide with all its chemistry."""
    rows = slice(record.start, record.start + record.length)
    chi = None if dataset.chi is None else dataset.chi[rows]
    peptide = Peptide.of(record.sequence, record.cyclic, record.disulfides)
    return Window(peptide, dataset.coordinates[rows], chi=chi)


def turned(window: Window, turn: int) -> Window:
    """Return a ring that starts `turn` residues later."""
    peptide, length = window.peptide, len(window.peptide)
    pairs = (
        tuple(sorted(((i - 1 - turn) % length + 1, (j - 1 - turn) % length + 1)))
        for i, j in peptide.disulfides
    )
    sequence = peptide.sequence[turn:] + peptide.sequence[:turn]
    return Window(
        Peptide.of(sequence, peptide.cyclic, tuple(sorted((i, j) for i, j in pairs))),
        np.roll(window.coordinates, -turn, axis=0),
        chi=None if window.chi is None else np.roll(window.chi, -turn, axis=0),
    )


class WindowSampler:
    """Draw batches of training examples from the ``train`` split; the seed and the step determine a batch.

    `buckets` are padded lengths, `longest` is the length of the longest window. A batch holds lengths of one bucket; a
    chain shorter than those is taken whole. BetafoldError where the train split is empty, or there are too few fixed
    windows.
    """

    def __init__(
        self,
        dataset: Dataset,
        buckets: tuple[int, ...],
        seed: int = 0,
        config: SamplerConfig | None = None,
        longest: int = TRAINED_LENGTHS[1],
    ) -> None:
        self.dataset = dataset
        self.seed = seed
        self.config = config or SamplerConfig()
        self._chains = dataset.chains("train")
        shortest, most = TRAINED_LENGTHS
        self._peptides = dataset.peptides("train") + [r for r in self._chains if r.length <= most]
        if not self._chains and not self._peptides:
            raise BetafoldError("the data set has no training records")
        edges = [shortest - 1, *buckets]
        self._ranges = {
            bucket: (low + 1, min(bucket, longest))
            for low, bucket in zip(edges[:-1], buckets, strict=True)
            if low < longest
        }
        self._chain_weights = chain_weights(self._chains)
        self._bridges = [
            (index, pair)
            for index, record in enumerate(self._chains)
            for pair in record.disulfides
            if pair[1] - pair[0] < longest
        ]
        self._bridge_spans = np.array([j - i + 1 for _, (i, j) in self._bridges])
        bridged = [self._chains[index] for index, _ in self._bridges]
        self._bridge_weights = inverse_cluster_size(bridged, power=0.5)
        self._peptide_lengths = np.array([record.length for record in self._peptides])
        kinds = np.array([KIND_WEIGHTS.get(record.kind, 0.5) for record in self._peptides])
        self._peptide_weights = inverse_cluster_size(self._peptides, power=0.5) * kinds
        self._substitutes = np.cumsum(substitution_probabilities(), axis=1)
        self._fixed = None if self.config.windows is None else self._fixed_windows(self.config.windows)

    def batch(self, step: int) -> tuple[list[Window], int]:
        """Return the ``tokens / padded length`` examples of a step, from 0, and the padded length, a bucket."""
        rng = np.random.default_rng([self.seed, step])
        padded = self.draw_length(rng)
        return self.draw(rng, padded, self.batch_size(padded)), padded

    def draw_length(self, rng: np.random.Generator) -> int:
        """Draw the padded length of a batch: one of the buckets with examples, by the number of lengths in it."""
        ranges = {
            padded: high - low + 1
            for padded, (low, high) in self._ranges.items()
            if self._chains or ((low <= self._peptide_lengths) & (self._peptide_lengths <= high)).any()
        }
        widths = np.array(list(ranges.values()), dtype=float)
        return int(rng.choice(list(ranges), p=widths / widths.sum()))

    def batch_size(self, padded: int) -> int:
        """Return how many examples of a padded length make a batch."""
        return max(1, self.config.tokens // padded)

    def draw(self, rng: np.random.Generator, padded: int, count: int) -> list[Window]:
        """Draw examples of one bucket; none where the data set has only whole peptides, of other lengths."""
        low, _ = self._ranges[padded]
        fitting = np.flatnonzero((self._peptide_lengths >= low) & (self._peptide_lengths <= padded))
        if not len(fitting):
            from_peptides = 0
        elif not self._chains:
            from_peptides = count
        else:
            from_peptides = int(rng.binomial(count, self.config.peptide_share))
        windows = []
        if from_peptides:
            weights = self._peptide_weights[fitting]
            for index in rng.choice(fitting, size=from_peptides, p=weights / weights.sum()):
                windows.append(self._peptide(self._peptides[index], rng))
        if count > from_peptides and self._chains:
            windows += self._chain_windows(count - from_peptides, padded, rng)
        return windows

    def _fixed_windows(self, count: int) -> dict[int, np.ndarray]:
        """Return the fixed windows (n, 3) of each bucket: chain, first residue, length."""
        planned = plan_windows(self._chains, count, self.config.windows_seed)
        fixed: dict[int, np.ndarray] = {}
        shorter = planned[:0]
        for bucket, (low, high) in self._ranges.items():
            fitting = planned[(planned[:, 2] >= low) & (planned[:, 2] <= high)]
            shorter = fixed[bucket] = fitting if len(fitting) else shorter  # where all chains are short
        return fixed

    def _chain_windows(self, count: int, padded: int, rng: np.random.Generator) -> list[Window]:
        """Draw fixed windows, or cut new ones: first those around a disulfide, then those anywhere."""
        if self._fixed is not None:
            rows = rng.choice(self._fixed[padded], size=count).tolist()
            cut = (cut_window(self.dataset, self._chains[chain], *place) for chain, *place in rows)
            return [self._state(window, rng) for window in cut]
        low, high = self._ranges[padded]
        around = np.flatnonzero(self._bridge_spans <= high)
        bridged = int(rng.binomial(count, self.config.disulfide_share)) if len(around) else 0
        windows = []
        if bridged:
            weights = self._bridge_weights[around]
            for index in rng.choice(around, size=bridged, p=weights / weights.sum()):
                chain, (i, j) = self._bridges[index]
                record = self._chains[chain]
                length = min(int(rng.integers(max(low, j - i + 1), high + 1)), record.length)
                first, last = max(0, j - length), min(i - 1, record.length - length)
                start = int(rng.integers(first, last + 1))
                windows.append(self._state(cut_window(self.dataset, record, start, length), rng))
        p = self._chain_weights / self._chain_weights.sum()
        for index in rng.choice(len(self._chains), size=count - bridged, p=p):
            record = self._chains[index]
            length = min(int(rng.integers(low, high + 1)), record.length)
            start = int(rng.integers(0, record.length - length + 1))
            windows.append(self._state(cut_window(self.dataset, record, start, length), rng))
        return windows

    def _peptide(self, record: Record, rng: np.random.Generator) -> Window:
        window = whole_window(self.dataset, record)
        if record.cyclic:  # a ring has no first residue: start anywhere
            window = turned(window, int(rng.integers(0, record.length)))
            if rng.random() < self.config.unstated_ring:
                window = replace(
                    window, peptide=Peptide.of(window.peptide.sequence, False, window.peptide.disulfides)
                )
        return self._state(window, rng)

    def _state(self, window: Window, rng: np.random.Generator) -> Window:
        """Return a window as the network gets it: a likely mutant, and the disulfides not always."""
        window = self._substitute(window, rng)
        if window.peptide.disulfides and rng.random() < self.config.unstated_disulfides:
            return replace(window, peptide=window.peptide.with_disulfides(()))
        return window

    def _substitute(self, window: Window, rng: np.random.Generator) -> Window:
        """Exchange residues for what evolution puts in their place."""
        if not self.config.substitutions or rng.random() < AS_OBSERVED:
            return window
        peptide = window.peptide
        exchanged = rng.random(len(peptide)) < rng.uniform(0.0, self.config.substitutions)
        exchanged[[place - 1 for pair in peptide.disulfides for place in pair]] = False
        letters = list(peptide.sequence)
        for place in np.flatnonzero(exchanged).tolist():
            # The row's last sum may be a rounding error short of 1.
            drawn = np.searchsorted(self._substitutes[peptide.ids[place]][:-1], rng.random(), side="right")
            letters[place] = ALPHABET[drawn]
        return replace(window, peptide=Peptide.of("".join(letters), peptide.cyclic, peptide.disulfides))
