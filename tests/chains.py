"""Chains to compare with other programs on: built ones, which every clone has, and real ones, where they are
there."""

import gzip
import json

import gemmi
import mlx.core as mx
import numpy as np
from biotite.structure import AtomArray

from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import THREE_LETTER, residue_ids

SHAPES = {
    "helix": (-63, -42, 180),
    "strand": (-120, 130, 180),
    "3-10": (-49, -26, 180),
    "PPII": (-75, 145, 180),
}
NAMES = ("N", "CA", "C", "O")


def synthetic():
    """Return (sequence, (L, 4, 3) float32 backbone) of helices, strands, hairpin-like and random chains, not
    quite ideal."""
    rng = np.random.default_rng(0)
    chains = []
    for number in range(40):
        length = int(rng.integers(4, 40))
        sequence = "".join(rng.choice(list(THREE_LETTER), size=length))
        torsions = rng.uniform(-180, 180, size=(length, 3))
        if number % 4:
            halves = rng.choice(list(SHAPES), size=2)
            torsions = np.repeat(
                [SHAPES[half] for half in halves], [length // 2, length - length // 2], axis=0
            )
            torsions = torsions + rng.normal(size=torsions.shape) * 4 * (number % 4)
        built = build_backbone(
            mx.array(np.radians(torsions[None]).astype(np.float32)), mx.array(residue_ids(sequence)[None])
        )
        noise = rng.normal(size=(length, 4, 3)) * 0.03
        chains.append((sequence, (np.array(built)[0, :, :4] + noise + 20).astype(np.float32)))
    return chains


def real(shared_data, every=4, longest=150):
    """Return the same of real peptides and pieces of real chains."""
    chains = []
    for name, step in (("peptides.jsonl.gz", every), ("chains.jsonl.gz", every * 30)):
        with gzip.open(shared_data / name, "rt") as lines:
            for record in (json.loads(line) for number, line in enumerate(lines) if number % step == 0):
                backbone = np.array(record["backbone"], dtype=np.float32).reshape(-1, 4, 3)
                chains.append((record["seq"][:longest], backbone[:longest]))
    return chains


def as_biotite(sequence, backbone):
    """Return N, CA, C, O as a biotite AtomArray."""
    array = AtomArray(4 * len(sequence))
    array.coord = backbone.reshape(-1, 3)
    array.atom_name = np.tile(NAMES, len(sequence))
    array.element = np.array([name[0] for name in array.atom_name])
    array.res_name = np.repeat([THREE_LETTER[letter] for letter in sequence], 4)
    array.res_id = np.repeat(np.arange(1, len(sequence) + 1), 4)
    array.chain_id[:] = "A"
    return array


def as_gemmi(sequence, backbone):
    """Return the residues as gemmi residues."""
    residues = []
    for number, (letter, coordinates) in enumerate(zip(sequence, backbone.tolist(), strict=True), start=1):
        residue = gemmi.Residue()
        residue.name, residue.seqid = THREE_LETTER[letter], gemmi.SeqId(str(number))
        for name, position in zip(NAMES, coordinates, strict=True):
            atom = gemmi.Atom()
            atom.name, atom.element, atom.pos = name, gemmi.Element(name[0]), gemmi.Position(*position)
            residue.add_atom(atom)
        residues.append(residue)
    return residues
