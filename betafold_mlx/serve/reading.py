"""Peptides as the server reads them, without a fold: for clients that show or change one, as the page does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from fastapi import APIRouter

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.foldable import unfoldable
from betafold_mlx.peptide.bonds import THIOLS, checked_disulfides
from betafold_mlx.peptide.names import preferred_names
from betafold_mlx.peptide.reading import Reading
from betafold_mlx.peptide.residue_table import RESIDUES
from betafold_mlx.peptide.sequence import STANDARD, THREE_LETTER, Peptide
from betafold_mlx.serve.documents import KnownResidue, ReadAnswer, ReadRequest, ResidueChange
from betafold_mlx.serve.error_responses import invalid_field
from betafold_mlx.serve.server import MAX_BODY


def reading_router() -> APIRouter:
    """Return the paths. Their functions are not async: they run in threads, beside the event loop."""
    router = APIRouter(prefix="/api/v1")

    @router.post("/read", max_body_size=MAX_BODY)
    def read(asked: ReadRequest) -> ReadAnswer:
        """Read a peptide in any notation, and write it in one-letter notation, where asked with a change."""
        field = "sequence"
        try:
            peptide = Peptide.parse(asked.sequence, d_amino_acids=asked.d_amino_acids)
            if asked.change is not None:
                field = "change"
                peptide = Peptide.parse(changed(peptide, asked.change).one_letter())
            if asked.disulfides is not None:
                field = "disulfides"
                pairs = checked_disulfides(peptide.residues, [(i, j) for i, j in asked.disulfides])
                peptide = Peptide.parse(peptide.with_disulfides(pairs).one_letter())
        except BetafoldError as error:
            raise invalid_field(field, str(error)) from error
        return read_answer(peptide)

    @router.get("/residues")
    def residues() -> list[KnownResidue]:
        """Return all residues that can be a part of a peptide."""
        return known_residues()

    return router


def changed(peptide: Peptide, change: ResidueChange) -> Peptide:
    """Return a peptide with another residue, by any of its names, at one place; its bonds are not checked.

    Raises
    ------
    BetafoldError
        For a name that is not known, or a place that is not there.
    """
    if change.place > len(peptide):
        raise BetafoldError(f"residue {change.place}: positions run from 1 to {len(peptide)}")
    before, behind = peptide.residues[: change.place - 1], peptide.residues[change.place :]
    name = change.residue.strip()
    reading = Reading(list(before))
    reading.add_name(THREE_LETTER.get(name, name))
    return replace(peptide, residues=(*reading.residues, *behind))


def read_answer(peptide: Peptide) -> ReadAnswer:
    """Return what there is to say of a peptide."""
    problem = unfoldable(peptide)
    return ReadAnswer(
        one_letter=peptide.one_letter(),
        sequence=peptide.sequence,
        residues=list(peptide.residues),
        n_cap=peptide.n_cap,
        c_cap=peptide.c_cap,
        cyclic=peptide.cyclic,
        disulfides=[list(pair) for pair in peptide.disulfides],
        bonds=list(map(str, peptide.other_bonds)),
        notes=[*peptide.notes, *([problem] if problem else [])],
    )


@cache
def known_residues() -> list[KnownResidue]:
    """Return the table of residues."""
    names = preferred_names()
    return [
        KnownResidue(
            code=code,
            name=names[code],
            full_name=kind.name,
            parent=kind.parent,
            hand=kind.hand,
            modified=code not in STANDARD,
            thiol=code in THIOLS,
        )
        for code, kind in RESIDUES.items()
    ]
