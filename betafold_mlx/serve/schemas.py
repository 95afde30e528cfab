"""The shapes of the JSON documents that the HTTP interface takes and gives, as JSON Schema."""

from __future__ import annotations

from typing import Any

from betafold_mlx.peptide.chemistry import C_CAPS, N_CAPS, NO_CAP
from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, MIN_LENGTH
from betafold_mlx.serve.limits import Limits
from betafold_mlx.serve.requests import AUTO, LONGEST_ID, MOST_SEED, STRUCTURES

Document = dict[str, Any]

EXAMPLE = "GRCTKSIPPICFPD"


def schemas(limits: Limits) -> Document:
    """Return all shapes by their names, for a server with these limits."""
    return {
        "FoldRequest": _fold_request(limits),
        "FoldAnswer": _FOLD_ANSWER,
        "Prediction": _PREDICTION,
        "BatchRequest": _batch_request(limits),
        "Batch": _BATCH,
        "Error": _ERROR,
    }


def reference(name: str) -> Document:
    """Return what stands for a shape in the OpenAPI document."""
    return {"$ref": f"#/components/schemas/{name}"}


def sequence_pattern() -> str:
    """Return the regular expression of a sequence."""
    letters = ALPHABET + ALPHABET.lower()
    return rf"^\s*([{letters}]\s*){{{MIN_LENGTH},{MAX_LENGTH}}}$"


def _fold_request(limits: Limits) -> Document:
    position = {"type": "integer", "minimum": 1, "maximum": MAX_LENGTH}
    pair = {"type": "array", "items": position, "minItems": 2, "maxItems": 2}
    pairs = {"type": "array", "items": pair, "maxItems": MAX_LENGTH // 2}
    return {
        "type": "object",
        "required": ["sequence"],
        "additionalProperties": False,
        "properties": {
            "sequence": {
                "type": "string",
                "description": f"{MIN_LENGTH} to {MAX_LENGTH} residues as one-letter codes in either case; white "
                "space is passed over.",
                "pattern": sequence_pattern(),
            },
            "id": {
                "type": "string",
                "maxLength": LONGEST_ID,
                "description": "A name; the sequence where there is none.",
            },
            "cyclic": _flag("Closed head to tail."),
            "disulfides": {
                "description": f'Bonded cysteines as pairs of positions, or "{AUTO}": as the model prefers.',
                "oneOf": [{"const": AUTO}, pairs],
                "default": [],
            },
            "d_amino_acids": _flag("All residues are D: the mirror image of the L fold."),
            "n_cap": _cap(N_CAPS, "before the first residue"),
            "c_cap": _cap(C_CAPS, "behind the last residue"),
            **_common(limits, []),
            "keep": _flag("Keep the prediction for a while, to get its files under `files`."),
        },
        "example": {
            "sequence": EXAMPLE,
            "cyclic": True,
            "disulfides": [[3, 11]],
            "samples": 5,
            "include": ["cif"],
        },
    }


def _batch_request(limits: Limits) -> Document:
    return {
        "type": "object",
        "required": ["fasta"],
        "additionalProperties": False,
        "properties": {
            "fasta": {
                "type": "string",
                "description": f"FASTA of up to {limits.records:,} records. The words `cyclic`, `disulfides=1-15`, "
                "`all-d`, `n-cap=ACE` and `c-cap=NH2` in a header state the chemistry.",
                "pattern": r"\S",
            },
            "auto_disulfides": _flag("Bond cysteines as the model prefers where no disulfides are stated."),
            **_common(limits, ["cif"]),
        },
        "example": {"fasta": f">first cyclic disulfides=3-11\n{EXAMPLE}\n>second\nGIGKFLHSAKKFGKAFVGEIMNS\n"},
    }


def _common(limits: Limits, include: list[str]) -> Document:
    return {
        "samples": {
            "type": "integer",
            "minimum": 1,
            "maximum": limits.samples,
            "default": 1,
            "description": "Models of each peptide, ranked best first.",
        },
        "seed": {
            "type": "integer",
            "minimum": 0,
            "maximum": MOST_SEED,
            "default": 0,
            "description": "Random seed of the samples.",
        },
        "include": {
            "type": "array",
            "items": {"enum": list(STRUCTURES)},
            "default": include,
            "description": "Structure files to send along.",
        },
    }


def _flag(description: str) -> Document:
    return {"type": "boolean", "default": False, "description": description}


def _cap(known: tuple[str, ...], place: str) -> Document:
    return {
        "enum": [*known, NO_CAP, None],
        "default": None,
        "description": f"Cap {place}: placed by ideal geometry, not modelled. A ring has none.",
    }


_NUMBERS: Document = {"type": "array", "items": {"type": "number"}}
_TEXTS: Document = {"type": "array", "items": {"type": "string"}}

_ERROR: Document = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["status", "message", "fields"],
            "properties": {
                "status": {"type": "integer"},
                "message": {"type": "string", "description": "What is wrong, and what to do."},
                "fields": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["field", "message"],
                        "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
                    },
                },
            },
        }
    },
}

_PREDICTION: Document = {
    "type": "object",
    "description": "What `betafold-mlx fold` writes as JSON.",
    "required": [
        "schema_version",
        "id",
        "sequence",
        "mean_plddt",
        "plddt",
        "secondary_structure",
        "models",
        "model",
    ],
    "properties": {
        "schema_version": {"type": "integer"},
        "id": {"type": "string"},
        "sequence": {"type": "string"},
        "mean_plddt": {"type": "number", "minimum": 0, "maximum": 100},
        "plddt": _NUMBERS,
        "secondary_structure": {"type": "string", "pattern": "^[HEC]+$"},
        "torsions": {
            "type": "object",
            "description": "phi, psi and omega of each residue, null where undefined.",
        },
        "models": {"type": "array", "minItems": 1, "items": {"type": "object"}, "description": "Best first."},
        "seed": {"type": "integer"},
        "model": {"type": "object", "description": "Name and SHA-256 of the folding model."},
        "versions": {"type": "object"},
        "warnings": _TEXTS,
    },
}

_FOLD_ANSWER: Document = {
    "type": "object",
    "required": ["result", "structures", "files"],
    "properties": {
        "result": reference("Prediction"),
        "structures": {
            "type": "object",
            "description": "The structure files of `include`.",
            "properties": {kind: {"type": "string"} for kind in STRUCTURES},
            "additionalProperties": False,
        },
        "files": {
            "type": ["object", "null"],
            "description": "Where its files are, if it is kept: `cif`, `pdb`, `json` and `html`, the report.",
            "additionalProperties": {"type": "string"},
        },
    },
}

_BATCH: Document = {
    "type": "object",
    "required": ["batch", "state", "message", "total", "done", "failed", "rows", "zip"],
    "properties": {
        "batch": {"type": "string", "description": "Its key."},
        "state": {"enum": ["running", "done", "stopped", "failed"]},
        "message": {"type": "string", "description": "Why it failed."},
        "total": {"type": "integer", "description": "Records."},
        "done": {"type": "integer", "description": "Of these, folded or failed."},
        "failed": {"type": "integer"},
        "rows": {
            "type": "array",
            "description": "What became of the records, in their order.",
            "items": {"type": "object", "required": ["id", "status", "message", "sequence"]},
        },
        "zip": {"type": ["string", "null"], "description": "Where the results are, once it is done."},
    },
}
