"""`Predictor`: a loaded model that folds peptides, in batches (`betafold_mlx.fold.pipeline`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import mlx.core as mx

from betafold_mlx.device import side_by_side
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.foldable import check_foldable
from betafold_mlx.fold.foreign import has_foreign
from betafold_mlx.fold.output import ATOMS
from betafold_mlx.fold.pipeline import describe_embedder, fold_batch
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.registry import CANDIDATES, find_embedder, find_model
from betafold_mlx.model.companions import JUDGE, SIDE_CHAINS
from betafold_mlx.model.directory import LoadedModel, load_model
from betafold_mlx.model.inputs import padded_length
from betafold_mlx.model.judge import Judge
from betafold_mlx.model.side_chains import SideChainNetwork
from betafold_mlx.peptide.bonds import StatedBond
from betafold_mlx.peptide.sequence import MAX_LENGTH, Peptide
from betafold_mlx.templates.library import LIBRARY_FILE, TemplateLibrary

if TYPE_CHECKING:
    from betafold_mlx.esm.embedder import EsmEmbedder

__all__ = ["Prediction", "Predictor"]

T = TypeVar("T")
R = TypeVar("R")

AUTO = "auto"
"""The template library of the model directory, where it has one."""

BATCH_SIZE = 64
"""Peptides folded together: more do not make it faster on a CPU."""


class Predictor:
    """A folding model, loaded and ready.

    Parameters
    ----------
    loaded : LoadedModel
        From `betafold_mlx.model.directory.load_model`; `Predictor.load` is the usual way.
    embedder : EsmEmbedder, optional
        The frozen embedder that the model was trained on, where it was trained on one.
    templates : TemplateLibrary, optional
        Known structures to look peptides up in; none without.
    max_identity : float
        Templates that share more of their aligned residues with a peptide are not used.
    judge : Judge, optional
        Ranks the candidates; without it the network's own confidence does.
    side_chains : SideChainNetwork, optional
        Gives the side chains; without it models have a backbone alone.

    Examples
    --------
    >>> from betafold_mlx import Predictor
    >>> prediction = Predictor.load().fold("GIGKFLHSAKKFGKAFVGEIMNS")
    >>> prediction.coordinates.shape
    (1, 23, 5, 3)
    """

    def __init__(
        self,
        loaded: LoadedModel,
        embedder: EsmEmbedder | None = None,
        templates: TemplateLibrary | None = None,
        max_identity: float = 1.0,
        judge: Judge | None = None,
        side_chains: SideChainNetwork | None = None,
    ) -> None:
        mx.eval(loaded.model.parameters())  # threads read them
        self.loaded, self.embedder = loaded, embedder
        self.templates, self.max_identity = templates, max_identity
        self.judge, self.side_chains = judge, side_chains
        self.templates_from: str | None = None
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
    def load(
        cls,
        model: str | Path | None = None,
        embedder: str | Path | None = None,
        templates: str | Path | None = AUTO,
    ) -> Predictor:
        """Load a model directory, and the frozen embedder that it was trained on.

        Parameters
        ----------
        model : str or Path, optional
            A model directory or the name of an installed one; by default the bundled `betafold-mini`.
        embedder : str or Path, optional
            Directory of the embedder; by default it is looked for (`betafold_mlx.fold.registry.find_embedder`).
        templates : str or Path, optional
            A template library, or `AUTO`; None for no templates.

        Raises
        ------
        BetafoldError
            No such model, or a damaged one; an embedder that is missing or another one.
        """
        loaded = load_model(find_model(model))
        library = _load_templates(loaded.path, templates)
        wanted, esm = loaded.model.config.embedder, None
        if wanted.kind != "residue":
            from betafold_mlx.esm.embedder import EsmEmbedder  # the bundled model starts without

            esm = EsmEmbedder.load(find_embedder(wanted, loaded.path, embedder))
        elif embedder is not None:
            raise BetafoldError(f"model {loaded.name} needs no embedder: leave out --embedder {embedder}")
        judge = JUDGE.find(loaded.path, loaded.sha256)
        side_chains = SIDE_CHAINS.find(loaded.path, loaded.sha256)
        predictor = cls(loaded, esm, library, judge=judge, side_chains=side_chains)
        if templates is not None:
            predictor.templates_from = AUTO if templates == AUTO else str(Path(templates).absolute())
        return predictor

    def fold(
        self,
        sequence: str | Peptide,
        *,
        cyclic: bool = False,
        disulfides: Iterable[tuple[int, int]] = (),
        d_amino_acids: bool = False,
        n_cap: str | None = None,
        c_cap: str | None = None,
        bonds: Iterable[StatedBond] = (),
        auto_disulfides: bool = False,
        samples: int = 1,
        candidates: int = CANDIDATES,
        seed: int = 0,
        id: str | None = None,
        details: bool = False,
        atoms: str = "all",
    ) -> Prediction:
        """Fold one peptide.

        Parameters
        ----------
        sequence : str or Peptide
            4 to 50 residues in one-letter codes, three-letter codes or HELM: see `Peptide.parse`.
        cyclic : bool
            Closed head to tail. A `Peptide` states this itself.
        disulfides : iterable of (int, int)
            1-based pairs of bonded cysteines. A `Peptide` states them itself.
        bonds : iterable of StatedBond
            Other bonds between named atoms. A `Peptide` states them itself.
        auto_disulfides : bool
            Where no disulfides are stated, bond the cysteines as the model prefers.
        d_amino_acids : bool
            All residues are D: the mirror image of the L fold. A `Peptide` states this itself.
        n_cap, c_cap : str, optional
            ``ACE`` and ``NH2``, or other names of them: placed in the files by ideal geometry, not modelled. A
            `Peptide` states them itself.
        samples : int
            Models to return: the best ones of all candidates.
        candidates : int
            Structures to draw and rank, at least `samples`, beside those threaded through templates. The first starts
            from the network's most likely torsions, the others from draws of its torsion distributions, each from its
            own key: candidate i is the same whatever `candidates`.
        seed : int
            0 to 2^31 - 1.
        id : str, optional
            Name; by default the sequence.
        details : bool
            Keep attention maps, expected distances and torsion density (`betafold_mlx.fold.details.Details`).
        atoms : str
            ``all`` heavy atoms, or those of the ``backbone``: N, CA, C, O and CB, without packing side chains.

        Raises
        ------
        BetafoldError
            For a sequence or chemistry that cannot be, or numbers out of range.
        """
        disulfides, bonds = tuple(disulfides), tuple(bonds)
        if not isinstance(sequence, Peptide):
            peptide = Peptide.parse(sequence, cyclic, disulfides, d_amino_acids, n_cap, c_cap, bonds)
        elif cyclic or disulfides or d_amino_acids or n_cap or c_cap or bonds:
            raise BetafoldError("a Peptide states its own chemistry: give none beside it")
        else:
            peptide = sequence
        return self.fold_many(
            [peptide],
            ids=[id or peptide.name],
            samples=samples,
            candidates=candidates,
            seed=seed,
            auto_disulfides=auto_disulfides,
            details=details,
            atoms=atoms,
        )[0]

    def fold_many(
        self,
        peptides: Sequence[Peptide],
        *,
        ids: Sequence[str] | None = None,
        samples: int = 1,
        candidates: int = CANDIDATES,
        seed: int = 0,
        auto_disulfides: bool = False,
        details: bool = False,
        atoms: str = "all",
        batch_size: int = BATCH_SIZE,
        apart: bool = False,
    ) -> list[Prediction]:
        """Fold peptides in batches of equal padded length, on a CPU several batches at a time; return in their order.

        Parameters
        ----------
        peptides : sequence of Peptide
            Checked peptides.
        ids : sequence of str, optional
            Their names, one a peptide; by default the sequences.
        samples, candidates, seed, auto_disulfides, details, atoms
            As in `fold`.
        batch_size : int
            Peptides in a batch: bounds the memory, however many there are.
        apart : bool
            Show peptides to the networks one after another, because products of matrices of other sizes round
            differently. On a CPU the confidence, ranking and backbone of a peptide then have the same bytes in any
            company, until its side chains are packed.

        Raises
        ------
        BetafoldError
            For numbers out of range, a peptide that cannot be folded (`betafold_mlx.fold.foldable.unfoldable`), or
            a model whose weights give no finite numbers.
        """
        numbers = {"samples": samples, "candidates": candidates, "batch_size": batch_size, "seed": seed}
        for name, number in numbers.items():
            if not hasattr(number, "__index__"):  # a float, NaN among them
                raise BetafoldError(f"{name} must be a whole number, not {number!r}")
        if samples < 1:
            raise BetafoldError(f"samples must be at least 1, not {samples}")
        if candidates < 1:
            raise BetafoldError(f"candidates must be at least 1, not {candidates}")
        if atoms not in ATOMS:
            raise BetafoldError(f"atoms must be {' or '.join(ATOMS)}, not {atoms!r}")
        if batch_size < 1:
            raise BetafoldError(f"a batch must hold at least 1 peptide, not {batch_size}")
        if not 0 <= seed < 2**31:
            raise BetafoldError(f"seed must lie between 0 and {2**31 - 1}, not {seed}")
        names = [peptide.name for peptide in peptides] if ids is None else ids
        if len(names) != len(peptides):
            raise BetafoldError(f"{len(names)} ids for {len(peptides)} peptides: give one for each")
        named = list(zip(map(check_foldable, peptides), names, strict=True))

        def fold(batch: Sequence[tuple[Peptide, str]]) -> list[Prediction]:
            chosen, ids = zip(*batch, strict=True)
            return fold_batch(
                self.loaded,
                self.embedder,
                chosen,
                ids,
                judge=self.judge,
                side_chains=self.side_chains if atoms == "all" else None,
                templates=self.templates,
                max_identity=self.max_identity,
                samples=samples,
                candidates=candidates,
                seed=seed,
                auto_disulfides=auto_disulfides,
                details=details,
                apart=apart,
            )

        return in_batches(named, fold, batch_size, lambda pair: batch_kind(pair[0]))

    def describe_embedder(self) -> dict[str, Any]:
        """Describe the embedder: ``kind`` and ``label``, and of a frozen one its size and checksums."""
        return describe_embedder(self.loaded, self.embedder)


def batch_kind(peptide: Peptide) -> tuple[int, bool]:
    """Return what peptides of one batch have in common: the padded length, and whether they have foreign residues.

    With these apart, the arithmetic of a plain peptide does not depend on its company.
    """
    return padded_length(len(peptide)), has_foreign(peptide)


def in_batches(
    items: Sequence[T],
    function: Callable[[list[T]], list[R]],
    batch_size: int = BATCH_SIZE,
    kind: Callable[[T], Hashable] = lambda item: padded_length(len(item)),  # type: ignore[arg-type]
) -> list[R]:
    """Call a function with batches of items of one kind, on a CPU several at a time; results in the items' order.

    `kind` is by default the padded length.
    """
    by_kind: dict[Hashable, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        by_kind[kind(item)].append(index)
    batches = [
        members[first : first + batch_size]
        for members in by_kind.values()
        for first in range(0, len(members), batch_size)
    ]
    done = side_by_side(lambda members: function([items[index] for index in members]), batches)
    results = dict(zip(chain(*batches), chain(*done), strict=True))
    return [results[index] for index in range(len(items))]


def _load_templates(model: Path, templates: str | Path | None) -> TemplateLibrary | None:
    if templates != AUTO:
        return None if templates is None else TemplateLibrary.load(Path(templates))
    bundled = model / LIBRARY_FILE
    return TemplateLibrary.load(bundled) if bundled.is_file() else None
