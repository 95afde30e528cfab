"""Sources of data sets for tests: ideal backbones with random sequences, in files."""

import numpy as np
from synthetic import backbone_of

from betafold_mlx.peptide.sequence import ALPHABET
from betafold_mlx.structure.backbone import Backbone
from betafold_mlx.structure.jsonl import write_backbones

LETTERS = list(ALPHABET)


def random_letters(rng, length, letters=LETTERS):
    return "".join(rng.choice(letters, size=length))


def mutated(sequence, rng, count):
    """The sequence with `count` residues changed, no two of them equal to what they were."""
    letters = list(sequence)
    for place in rng.choice(len(letters), size=count, replace=False):
        letters[place] = LETTERS[(LETTERS.index(letters[place]) + rng.integers(1, 20)) % 20]
    return "".join(letters)


def spread(sequence, keep):
    """The sequence with residues changed, evenly spread, so that `keep` stay, in short runs."""
    letters = list(sequence)
    changed = np.linspace(0, len(letters) - 1, len(letters) - keep + 2)[1:-1].round().astype(int)
    assert len(set(changed)) == len(letters) - keep
    for place in changed:
        letters[place] = LETTERS[(LETTERS.index(letters[place]) + 7) % 20]
    return "".join(letters)


def backbone(name, sequence, kind="free", cyclic=False, **more):
    rng = np.random.default_rng(len(sequence))
    return Backbone(name, sequence, backbone_of(sequence, rng), kind=kind, cyclic=cyclic, **more)


def random_backbones(seed=0, peptides=30, chains=40, letters=LETTERS):
    """Peptides of all kinds, every third a ring, and chains."""
    rng = np.random.default_rng(seed)
    kinds = ("free", "oligomer", "bound", "mhc_bound")
    records = [
        backbone(f"p{n}", random_letters(rng, int(rng.integers(10, 33)), letters), kinds[n % 4], n % 3 == 0)
        for n in range(peptides)
    ]
    records += [
        backbone(f"c{n}", random_letters(rng, int(rng.integers(60, 120)), letters), "chain")
        for n in range(chains)
    ]
    return records


def write(path, records):
    write_backbones(path, records)
    return path
