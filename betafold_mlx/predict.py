"""What a Python user imports: `Predictor` folds, `Prediction` is what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from betafold_mlx.closure import Bond, measure_bonds
from betafold_mlx.errors import BetafoldError
from betafold_mlx.model.directory import LoadedModel, load_model
from betafold_mlx.model.inputs import ModelInputs, collate, padded_length
from betafold_mlx.prediction import Prediction
from betafold_mlx.sequence import MAX_LENGTH, TRAINED_LENGTHS, Peptide
from betafold_mlx.zoo import find_embedder, find_model

if TYPE_CHECKING:
    from betafold_mlx.esm.features import EsmEmbedder

__all__ = ["Prediction", "Predictor"]

_TOGETHER = 128  # peptides in a batch: bounds the memory, however many there are


class Predictor:
    """A folding model, loaded and ready.

    Parameters
    ----------
    loaded : LoadedModel
        From `betafold_mlx.model.directory.load_model`; `Predictor.load` is the usual way.
    embedder : EsmEmbedder, optional
        The frozen embedder that the model was trained on, where it was trained on one.

    Examples
    --------
    >>> from betafold_mlx import Predictor
    >>> prediction = Predictor.load().fold("GIGKFLHSAKKFGKAFVGEIMNS")
    >>> prediction.coordinates.shape
    (1, 23, 5, 3)
    """

    def __init__(self, loaded: LoadedModel, embedder: EsmEmbedder | None = None) -> None:
        self.loaded = loaded
        self.embedder = embedder
        config = loaded.model.config
        frozen = config.embedder.kind != "residue"
        if frozen != (embedder is not None) or (embedder and embedder.esm.sha256 != config.embedder.sha256):
            given = embedder.esm.embedder_config().describe() if embedder else "none"
            raise BetafoldError(
                f"model {loaded.name} reads {config.embedder.describe()}, and the embedder given is {given}"
            )
        if config.max_length < MAX_LENGTH:
            raise BetafoldError(
                f"model {loaded.name} reads at most {config.max_length} residues, peptides have up to {MAX_LENGTH}"
            )

    @classmethod
    def load(cls, model: str | Path | None = None, embedder: str | Path | None = None) -> Predictor:
        """Load a model directory, and the frozen embedder that it was trained on.

        Parameters
        ----------
        model : str or Path, optional
            A model directory or the name of a bundled one; by default the best installed one
            (`betafold_mlx.zoo.best_model`).
        embedder : str or Path, optional
            Directory of the embedder; by default it is looked for (`betafold_mlx.zoo.find_embedder`).

        Raises
        ------
        BetafoldError
            No such model, or a damaged one; an embedder that is missing or another one.
        """
        loaded = load_model(find_model(model))
        wanted = loaded.model.config.embedder
        if wanted.kind == "residue":
            if embedder is not None:
                raise BetafoldError(f"model {loaded.name} needs no embedder: leave out --embedder {embedder}")
            return cls(loaded)
        directory = find_embedder(wanted, loaded.path, embedder)
        from betafold_mlx.esm.features import EsmEmbedder  # the bundled model starts without

        return cls(loaded, EsmEmbedder.load(directory))

    def fold(
        self,
        sequence: str | Peptide,
        *,
        cyclic: bool = False,
        disulfides: Iterable[tuple[int, int]] = (),
        samples: int = 1,
        seed: int = 0,
        id: str | None = None,
    ) -> Prediction:
        """Fold one peptide.

        Parameters
        ----------
        sequence : str or Peptide
            4 to 32 standard residues in one-letter code.
        cyclic : bool
            Closed head to tail. A `Peptide` states this itself.
        disulfides : iterable of (int, int)
            1-based pairs of bonded cysteines. A `Peptide` states them itself.
        samples : int
            Models to make, ranked by mean pLDDT. The first drawn is the network's answer; the others are drawn
            with dropout on (Gal & Ghahramani 2016), each from its own key: sample i is the same whatever `samples`.
        seed : int
            0 to 2^31 - 1.
        id : str, optional
            Name; by default the sequence.

        Returns
        -------
        Prediction

        Raises
        ------
        BetafoldError
            For a sequence or chemistry that cannot be, or numbers out of range.
        """
        disulfides = tuple(disulfides)
        if not isinstance(sequence, Peptide):
            peptide = Peptide.parse(sequence, cyclic, disulfides)
        elif cyclic or disulfides:
            raise BetafoldError("a Peptide states its own chemistry: leave out cyclic and disulfides")
        else:
            peptide = sequence
        return self.fold_many([peptide], samples=samples, seed=seed, ids=[id or peptide.sequence])[0]

    def fold_many(
        self,
        peptides: Sequence[Peptide],
        *,
        ids: Sequence[str] | None = None,
        samples: int = 1,
        seed: int = 0,
    ) -> list[Prediction]:
        """Fold peptides in batches of equal padded length.

        Parameters
        ----------
        peptides : sequence of Peptide
            Checked peptides.
        ids : sequence of str, optional
            Their names, one a peptide; by default the sequences.
        samples, seed : int
            As in `fold`.

        Returns
        -------
        list of Prediction
            In the order of `peptides`.

        Raises
        ------
        BetafoldError
            For numbers out of range, or a model whose weights give no finite numbers.
        """
        if samples < 1:
            raise BetafoldError(f"samples must be at least 1, not {samples}")
        if not 0 <= seed < 2**31:
            raise BetafoldError(f"seed must lie between 0 and {2**31 - 1}, not {seed}")
        names = [peptide.sequence for peptide in peptides] if ids is None else ids
        if len(names) != len(peptides):
            raise BetafoldError(f"{len(names)} ids for {len(peptides)} peptides: give one for each")
        predictions: dict[int, Prediction] = {}
        by_length: dict[int, list[int]] = {}
        for index, peptide in enumerate(peptides):
            by_length.setdefault(padded_length(len(peptide)), []).append(index)
        batches = (
            (length, members[first : first + _TOGETHER])
            for length, members in by_length.items()
            for first in range(0, len(members), _TOGETHER)
        )
        for length, members in batches:
            inputs = self._inputs([peptides[index] for index in members], length)
            folded = self.loaded.model(inputs)
            arrays = [np.array(x) for x in (folded.coordinates, folded.plddt, folded.torsions)]
            for row, index in enumerate(members):
                drawn = [tuple(array[row] for array in arrays)]
                drawn += [self._draw(_alone(inputs, row), seed, number) for number in range(1, samples)]
                predictions[index] = self._prediction(names[index], peptides[index], drawn, seed)
        return [predictions[index] for index in range(len(peptides))]

    def _inputs(self, peptides: Sequence[Peptide], length: int) -> ModelInputs:
        inputs = collate(peptides, length)
        if self.embedder is None:
            return inputs
        return inputs._replace(features=self.embedder([peptide.sequence for peptide in peptides], length))

    def _draw(self, alone: ModelInputs, seed: int, number: int) -> tuple[np.ndarray, ...]:
        folded = self.loaded.model(alone, mx.random.key((seed << 32) + number))
        return tuple(np.array(x[0]) for x in (folded.coordinates, folded.plddt, folded.torsions))

    def describe_embedder(self) -> dict[str, Any]:
        """Return who makes the features: ``kind`` and ``label``, and of a frozen embedder its size and checksums."""
        if self.embedder is not None:
            return self.embedder.esm.to_dict()
        return {"kind": "residue", "label": self.loaded.model.config.embedder.describe()}

    def _prediction(
        self, name: str, peptide: Peptide, drawn: list[tuple[np.ndarray, ...]], seed: int
    ) -> Prediction:
        length = len(peptide)
        order = sorted(range(len(drawn)), key=lambda number: -float(drawn[number][1][:length].mean()))
        coordinates, plddt, torsions = (
            np.stack([drawn[number][part][:length] for number in order]) for part in range(3)
        )
        if not (np.isfinite(coordinates).all() and np.isfinite(plddt).all()):
            raise BetafoldError(f"model {self.loaded.name} gives no finite numbers: its weights are damaged")
        glycine = np.array([letter == "G" for letter in peptide.sequence])
        coordinates[:, glycine, 4] = np.nan
        torsions[:, 0, 0] = np.nan
        torsions[:, -1, 1:] = np.nan
        bonds = tuple(measure_bonds(peptide, model) for model in coordinates)
        return Prediction(
            id=name,
            peptide=peptide,
            coordinates=coordinates,
            plddt=plddt,
            torsions=torsions,
            bonds=bonds,
            seed=seed,
            model_name=self.loaded.name,
            model_sha256=self.loaded.sha256,
            embedder=self.describe_embedder(),
            warnings=_warnings(peptide, bonds[0]),
        )


def _alone(inputs: ModelInputs, row: int) -> ModelInputs:
    """Return one peptide of a batch as a batch of its own."""
    parts = {name: part[row : row + 1] for name, part in inputs._asdict().items() if part is not None}
    return inputs._replace(**parts)


def _warnings(peptide: Peptide, bonds: Sequence[Bond]) -> tuple[str, ...]:
    warnings = []
    shortest, longest = TRAINED_LENGTHS
    if not shortest <= len(peptide) <= longest:
        warnings.append(
            f"{len(peptide)} residues: the model was trained on {shortest} to {longest}, so expect less of it here"
        )
    warnings += [f"{bond.describe()}: not formed in this model" for bond in bonds if not bond.formed]
    return tuple(warnings)
