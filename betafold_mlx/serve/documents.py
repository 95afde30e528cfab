"""JSON documents of requests and responses: pydantic checks them, and describes them in ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.foldable import check_foldable
from betafold_mlx.peptide.bonds import checked_disulfides, parse_bond
from betafold_mlx.peptide.chemistry import C_CAPS, N_CAPS, NO_CAP
from betafold_mlx.peptide.end_groups import cap_code
from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, MIN_LENGTH, Peptide
from betafold_mlx.serve.server import MAX_BATCH_BODY

EXAMPLE = "GRCTKSIPPICFPD"
SEQUENCE_PATTERN = rf"^\s*([{ALPHABET}{ALPHABET.lower()}]\s*){{{MIN_LENGTH},{MAX_LENGTH}}}$"
"""For the description alone: what is wrong with a sequence, `Peptide.parse` says better."""

AUTO: Literal["auto"] = "auto"
StructureKind = Literal["cif", "pdb"]
Pair = Annotated[list[int], Field(min_length=2, max_length=2)]


@contextmanager
def _as_field_error() -> Iterator[None]:
    """Make the `BetafoldError` of the block an error of the field that pydantic checks."""
    try:
        yield
    except BetafoldError as error:
        raise PydanticCustomError("betafold", "{reason}", {"reason": str(error)}) from error


class _Request(BaseModel):
    """What both kinds of request have."""

    model_config = ConfigDict(extra="forbid", strict=True)

    samples: int = Field(
        1, ge=1, description="Models of each peptide, ranked best first; `/api/v1/info` has the maximum."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Random seed.")


class FoldRequest(_Request):
    """One peptide to fold."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "sequence": EXAMPLE,
                "cyclic": True,
                "disulfides": [[3, 11]],
                "samples": 5,
                "include": ["cif"],
            }
        }
    )

    sequence: str = Field(
        description=f"{MIN_LENGTH} to {MAX_LENGTH} residues in one-letter codes, three-letter codes or HELM, "
        "on one line.",
        json_schema_extra={"maxLength": 4000},
    )
    id: str = Field("", max_length=200, description="A name; by default the sequence.")
    disulfides: Literal["auto"] | list[Pair] = Field(
        [], description="Bonded cysteines as pairs of positions, or `auto`: as the model prefers."
    )
    d_amino_acids: bool = Field(False, description="All residues are D: the mirror image of the L fold.")
    n_cap: str | None = Field(
        None, description="Cap before the first residue.", json_schema_extra={"enum": [*N_CAPS, NO_CAP, None]}
    )
    c_cap: str | None = Field(
        None, description="Cap after the last residue.", json_schema_extra={"enum": [*C_CAPS, NO_CAP, None]}
    )
    bonds: list[str] = Field([], description="Other bonds between named atoms, as `3:NZ-7:CD`.")
    cyclic: bool = Field(False, description="Closed head to tail; a ring has no caps.")
    include: list[StructureKind] = Field([], description="Structure files to send along.")
    keep: bool = Field(False, description="Keep the prediction for a while, to download its files.")

    @field_validator("sequence")
    @classmethod
    def _sequence(cls, text: str) -> str:
        with _as_field_error():
            check_foldable(Peptide.parse(text))
            return text.strip()

    @field_validator("disulfides", mode="wrap")
    @classmethod
    def _disulfides(cls, value: Any, check: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            pairs = check(value)
        except ValidationError as error:
            message = 'this must be a list of pairs of positions, [[1, 15]], or "auto"'
            raise PydanticCustomError("betafold", message) from error
        if pairs != AUTO and "sequence" in info.data:
            with _as_field_error():
                checked_disulfides(Peptide.parse(info.data["sequence"]).residues, [(i, j) for i, j in pairs])
        return pairs

    @field_validator("bonds")
    @classmethod
    def _bonds(cls, bonds: list[str]) -> list[str]:
        with _as_field_error():
            return [str(parse_bond(bond)) for bond in bonds]

    @field_validator("n_cap", "c_cap")
    @classmethod
    def _cap(cls, cap: str | None, info: ValidationInfo) -> str | None:
        with _as_field_error():
            return cap_code(str(info.field_name)[0], cap)

    @field_validator("cyclic")
    @classmethod
    def _cyclic(cls, cyclic: bool, info: ValidationInfo) -> bool:
        if cyclic and (info.data.get("n_cap") or info.data.get("c_cap")):
            raise PydanticCustomError(
                "betafold", "a cyclic peptide has no ends to cap: leave out n-cap and c-cap, or cyclic"
            )
        return cyclic

    @model_validator(mode="after")
    def _whole(self) -> FoldRequest:
        with _as_field_error():
            check_foldable(self.peptide())
        return self

    def peptide(self) -> Peptide:
        """Return the peptide that is to be folded."""
        pairs = [] if self.disulfides == AUTO else [(i, j) for i, j in self.disulfides]
        bonds = map(parse_bond, self.bonds)
        return Peptide.parse(
            self.sequence, self.cyclic, pairs, self.d_amino_acids, self.n_cap, self.c_cap, bonds
        )


class ResidueChange(BaseModel):
    """A residue to put in the place of another."""

    model_config = ConfigDict(extra="forbid", strict=True)

    place: int = Field(ge=1, le=MAX_LENGTH, description="Its position.")
    residue: str = Field(
        max_length=100, description="Its code or another name, for example `AIB` or `D-Phe`."
    )


class ReadRequest(BaseModel):
    """A peptide to read, and what to change in it."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "example": {"sequence": "cyclo(RGDFV)", "change": {"place": 4, "residue": "D-Phe"}}
        },
    )

    sequence: str = Field(description="As for a fold.", json_schema_extra={"maxLength": 4000})
    d_amino_acids: bool = Field(False, description="All residues are D.")
    change: ResidueChange | None = Field(None, description="One other residue.")
    disulfides: list[Pair] | None = Field(None, description="Disulfides instead of those of the text.")


class ReadAnswer(BaseModel):
    """A peptide as it is read."""

    one_letter: str = Field(
        description="All of it in one-letter notation, which is read as the same peptide."
    )
    sequence: str = Field(description="The standard residues that stand for its residues.")
    residues: list[str] = Field(description="Codes of the wwPDB Chemical Component Dictionary.")
    n_cap: str | None
    c_cap: str | None
    cyclic: bool
    disulfides: list[Pair]
    bonds: list[str] = Field(description="Other bonds, as `3:NZ-7:CD`.")
    notes: list[str] = Field(description="What could be meant otherwise, and why it cannot be folded.")


class KnownResidue(BaseModel):
    """A residue that can be a part of a peptide."""

    code: str = Field(description="In the wwPDB Chemical Component Dictionary.")
    name: str = Field(description="As chemists write it.")
    full_name: str = Field(description="In the dictionary.")
    parent: str = Field(description="Letter of the standard residue that stands for it.")
    hand: str = Field(description="`L` or `D`; empty where it has none.")
    modified: bool = Field(description="Neither one of the 20 standard residues nor the D form of one.")
    thiol: bool = Field(description="It can be in a disulfide.")


class BatchRequest(_Request):
    """A FASTA file to fold."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "fasta": f">first cyclic disulfides=3-11\n{EXAMPLE}\n>second\nGIGKFLHSAKKFGKAFVGEIMNS\n"
            }
        }
    )

    fasta: str = Field(
        max_length=MAX_BATCH_BODY,
        description="The words `cyclic`, `disulfides=1-15`, `all-d`, `n-cap=ACE` and `c-cap=NH2` in a header state the "
        "chemistry; `/api/v1/info` has the maximum of records.",
    )
    auto_disulfides: bool = Field(
        False, description="Bond cysteines as the model prefers where no disulfides are stated."
    )
    include: list[StructureKind] = Field(["cif"], description="Structure files to write.")


class FoldAnswer(BaseModel):
    """A prediction, and where its files are."""

    result: dict[str, Any] = Field(description="What `betafold-mlx fold` writes as JSON.")
    structures: dict[StructureKind, str] = Field(description="The structure files of `include`.")
    files: dict[str, str] | None = Field(
        description="Paths of the files of a kept prediction: `cif`, `pdb`, `json` and `html`, the report."
    )


class BatchStatus(BaseModel):
    """How a FASTA batch is going."""

    batch: str = Field(description="Its key.")
    state: Literal["running", "done", "stopped", "failed"]
    message: str = Field(description="Why it failed.")
    total: int = Field(description="Records.")
    done: int = Field(description="Records that are folded or failed.")
    failed: int = Field(description="Records that failed.")
    rows: list[dict[str, Any]] = Field(
        description="The outcomes of the records in their order: `id`, `status`, `message`, `sequence`, and more."
    )
    zip: str | None = Field(description="Path of the results, once it is done.")
