"""The fold of a batch of peptides, in six steps.

1. The network answers: torsion and distance distributions, given the sequence and its stated chemistry. The template
   library is searched for known folds (`betafold_mlx.templates.search`).
2. Candidate starts are drawn from the torsion distributions (`minimise`), follow the distances (`traces`), and are
   threaded through templates (`threads`).
3. All candidates are minimised together (`minimise`), against the distances, clashes and stated bonds.
4. Rings and disulfides are closed exactly (`closing`), and other stated bonds (`linking`). Steps 2 to 4 are
   `ensemble.refine`.
5. Candidates are scored (`judging`, or `confidence` without a judge) and ranked (`ranking`): the `Prediction` of each
   peptide.
6. The models that are kept get their side chains (`side_chains`, `packing`, `relief`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.asking import ask, score
from betafold_mlx.fold.ensemble import NOTHING, refine
from betafold_mlx.fold.foreign import CONFIDENCE_LOSS, has_foreign, is_mirrored
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.fold.ranking import collect_warnings, rank_models
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.model.folding import Folded
from betafold_mlx.model.judge import Judge
from betafold_mlx.peptide.cap_bonds import cap_column, has_cap_bond, with_cap_atoms
from betafold_mlx.peptide.sequence import Peptide
from betafold_mlx.structure.secondary import assign_secondary_structures
from betafold_mlx.templates.alignment import best_scores, score_table
from betafold_mlx.templates.library import TemplateLibrary
from betafold_mlx.templates.search import MIN_TRUST, Hits, find_bonds, search
from betafold_mlx.templates.stretches import cut_stretches

if TYPE_CHECKING:
    from betafold_mlx.esm.embedder import EsmEmbedder
    from betafold_mlx.fold.disulfides import DisulfidePattern
    from betafold_mlx.model.side_chains import SideChainNetwork

MAX_TEMPLATES, CHAIN_TEMPLATES = 4, 3
"""Templates of a peptide, at most: entries of the library with `MIN_TRUST`, and stretches of its chains with any."""

BOND_TEMPLATES = 8
"""Entries whose disulfides are looked at, at most, where cysteines are to be paired."""


def fold_batch(
    loaded: LoadedModel,
    embedder: EsmEmbedder | None,
    peptides: Sequence[Peptide],
    ids: Sequence[str],
    *,
    judge: Judge | None = None,
    side_chains: SideChainNetwork | None = None,
    templates: TemplateLibrary | None = None,
    max_identity: float = 1.0,
    samples: int,
    candidates: int,
    seed: int,
    auto_disulfides: bool = False,
    details: bool = False,
    apart: bool = False,
) -> list[Prediction]:
    """Fold peptides together.

    Parameters
    ----------
    loaded : LoadedModel
        The folding model.
    embedder : EsmEmbedder or None
        Its frozen embedder, where it has one.
    peptides : sequence of Peptide
        B peptides of one padded length.
    ids : sequence of str
        Their names.
    judge : Judge, optional
        Ranks the candidates and gives their confidence; without it the network's own does.
    side_chains : SideChainNetwork, optional
        Gives the side chains; without it the models have a backbone alone.
    templates : TemplateLibrary, optional
        Known structures to look the peptides up in.
    max_identity : float
        Templates that are more similar are not used.
    samples, candidates, seed, auto_disulfides, details
        As in `Predictor.fold`.
    apart : bool
        As in `Predictor.fold_many`.

    Raises
    ------
    BetafoldError
        The weights give numbers that are not finite.
    """
    network = loaded.model
    # 1. The network's answer; where disulfides are to be chosen, once more with them stated.
    inputs, answer = ask(network, embedder, peptides, details, apart)
    patterns = [
        _rank_disulfides(peptide, answer, row, templates, max_identity)
        for row, peptide in enumerate(peptides)
    ]
    if auto_disulfides and any(patterns):
        peptides = [
            peptide.with_disulfides(ranked[0].disulfides) if ranked else peptide
            for peptide, ranked in zip(peptides, patterns, strict=True)
        ]
        inputs, answer = ask(network, embedder, peptides, details, apart)

    damaged = f"model {loaded.name} gives no finite numbers: its weights are damaged"
    if not all(mx.isfinite(array).all().item() for array in (answer.distogram, answer.torsions)):
        raise BetafoldError(damaged)
    hits = None if templates is None else find_templates(peptides, templates, max_identity)

    # 2. - 4. Candidates: drawn and threaded, minimised and closed.
    several = max(samples, candidates)
    # The network's own confidence believes what follows its own distances, right or wrong: it takes a judge to choose.
    traced = judge is not None and several > 1
    whole = list(map(with_cap_atoms, peptides))
    ensemble = refine(answer, inputs, seed, range(several), templates=hits, traced=traced, peptides=whole)

    # 5. Confidence, ranking, and what else a prediction says.
    plddt = score(network, judge, answer, inputs, ensemble, hits, apart)
    coordinates, torsions = np.array(ensemble.coordinates), np.array(ensemble.torsions)  # (B, S, L, ...)
    finite = np.isfinite(plddt).all(axis=1) & np.isfinite(coordinates).all(axis=(1, 3, 4))  # (B, L)
    if not finite[np.array(inputs.mask)].all():
        raise BetafoldError(damaged)
    if details:
        from betafold_mlx.fold.details import read_details
    predictions, linked = [], []
    for row, peptide in enumerate(peptides):
        n = len(peptide)
        made = np.flatnonzero(ensemble.source[row] != NOTHING)
        chi = ensemble.chi[row, :, :n] if ensemble.chi is not None and peptide.other_bonds else None
        of_made = None if chi is None else chi[made]
        ranking = rank_models(peptide, coordinates[row, made, :n], plddt[row, made, :n], of_made)
        order = made[ranking.order[:samples]]
        models = _without_absent_cb(peptide, coordinates[row, order, :n])
        scores = plddt[row, order, :n]
        if has_foreign(peptide):
            scores = np.maximum(scores - CONFIDENCE_LOSS, 0.0)
        prediction = Prediction(
            id=ids[row],
            peptide=peptide,
            coordinates=models,
            plddt=scores,
            torsions=_end_torsions(peptide, torsions[row, order, :n], None if chi is None else chi[order]),
            secondary_structure=(),
            bonds=ranking.bonds[:samples],
            clashes=ranking.clashes[:samples],
            through=ranking.through[:samples],
            templates=tuple(hits[row]) if hits else (),
            threaded=tuple(k if k >= 0 else None for k in ensemble.source[row, order].tolist()),
            seed=seed,
            model_name=loaded.name,
            model_sha256=loaded.sha256,
            embedder=describe_embedder(loaded, embedder),
            disulfide_patterns=patterns[row],
            warnings=collect_warnings(peptide, models[0], scores[0], ranking, patterns[row]),
            details=read_details(answer, row, n, peptide.cyclic) if details else None,
        )
        predictions.append(prediction)
        linked.append(None if chi is None else chi[order])
    drawn = _with_secondary_structures(predictions)
    images = [
        prediction.mirrored() if is_mirrored(prediction.peptide) else prediction for prediction in drawn
    ]
    if side_chains is None:
        return images
    from betafold_mlx.fold.side_chains import add_side_chains  # 6.

    # An all-D peptide of standard residues gets them as its L peptide, to be the mirror image to the last digit.
    reflected = [
        prediction.peptide.d_amino_acids and not prediction.peptide.modified and chi is None
        for prediction, chi in zip(drawn, linked, strict=True)
    ]
    for row in np.flatnonzero(reflected).tolist():
        images[row] = replace(drawn[row], peptide=drawn[row].peptide.reflected())
    built = add_side_chains(images, side_chains, answer.states, linked, apart)
    for row in np.flatnonzero(reflected).tolist():
        built[row] = replace(built[row].mirrored(), peptide=drawn[row].peptide)
    return built


def find_templates(peptides: Sequence[Peptide], library: TemplateLibrary, max_identity: float = 1.0) -> Hits:
    """Look peptides up in a template library."""
    scores = best_scores(list(map(score_table, peptides)), library.codes)
    near: Sequence[TemplateLibrary | None] = [None] * len(peptides)
    if library.chains is not None:
        near = cut_stretches(library.chains, peptides)
    found = []
    for peptide, own, stretches in zip(peptides, scores, near, strict=True):
        hits = search(peptide, library, MAX_TEMPLATES, None, max_identity, min_trust=MIN_TRUST, scores=own)
        if stretches is not None:
            known = {hit.name.split(":")[0] for hit in hits}
            more = search(
                peptide, stretches, MAX_TEMPLATES + CHAIN_TEMPLATES, None, max_identity, of_chains=True
            )
            hits += [hit for hit in more if hit.name.split(":")[0] not in known][:CHAIN_TEMPLATES]
        found.append(sorted(hits, key=lambda hit: -hit.trust))
    return found


def describe_embedder(loaded: LoadedModel, embedder: EsmEmbedder | None) -> dict[str, Any]:
    """Describe the embedder: ``kind`` and ``label``, and of a frozen one its size and checksums."""
    if embedder is not None:
        return embedder.esm.to_dict()
    return {"kind": "residue", "label": loaded.model.config.embedder.describe()}


def _rank_disulfides(
    peptide: Peptide, answer: Folded, row: int, library: TemplateLibrary | None, max_identity: float
) -> tuple[DisulfidePattern, ...]:
    """Rank the ways to bond the cysteines of a row of a batch where none is stated; nothing where one is."""
    if peptide.disulfides or peptide.sequence.count("C") < 2:
        return ()
    from betafold_mlx.fold.disulfides import rank_disulfides, thiol_letters

    letters = thiol_letters(peptide)
    length = len(peptide)
    known = []
    if library is not None and letters.count("C") > 2:  # of two there is one way to bond them
        known = find_bonds(peptide, library, BOND_TEMPLATES, max_identity)
    distogram = np.array(answer.distogram[row, :length, :length])
    return rank_disulfides(letters, distogram, peptide.cyclic, known)


def _with_secondary_structures(predictions: list[Prediction]) -> list[Prediction]:
    """Return predictions with the secondary structure of each model: all in one go is ten times as fast."""
    letters = iter(
        assign_secondary_structures([model[:, 1] for each in predictions for model in each.coordinates])
    )
    return [
        replace(each, secondary_structure=tuple(islice(letters, len(each.coordinates))))
        for each in predictions
    ]


def _without_absent_cb(peptide: Peptide, coordinates: np.ndarray) -> np.ndarray:
    """Return models (S, L, 5, 3) with NaN for the CB of glycine."""
    glycine = np.array([letter == "G" for letter in peptide.sequence])
    coordinates[:, glycine, 4] = np.nan
    return coordinates


def _end_torsions(peptide: Peptide, torsions: np.ndarray, chi: np.ndarray | None) -> np.ndarray:
    """Return torsions (S, L, 3) within half a turn of zero, with NaN where an open chain has none.

    Phi of the first residue is that of a cap with a stated bond, which `chi` (S, L, K) has.
    """
    torsions = np.where(
        np.abs(torsions) > np.pi, torsions - 2 * np.pi * np.round(torsions / (2 * np.pi)), torsions
    )
    if not peptide.cyclic:
        torsions[:, 0, 0] = np.nan
        if chi is not None and has_cap_bond(peptide):
            torsions[:, 0, 0] = chi[:, 0, cap_column(peptide)] * (-1 if is_mirrored(peptide) else 1)
        torsions[:, -1, 1:] = np.nan
    return torsions
