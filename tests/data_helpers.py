"""Sources of data sets for tests: ideal backbones with random sequences, in files."""

import gzip
import random

import gemmi
import numpy as np
from file_server import serve
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


def entry_file(entry, name=None):
    """Return a gzipped mmCIF file of an entry, with nothing in it but its id and some tens of kilobytes of digits."""
    digits = random.Random(entry).randbytes(20_000).hex()
    name = (name or entry).upper()
    return gzip.compress(f"data_{name}\n#\n_entry.id   {name}\n#\n_x.y {digits}\n".encode(), mtime=0)


def entry_names(count):
    """Return so many ids: 1aaa, 1aab ..."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [f"1{letters[n // 676]}{letters[n // 26 % 26]}{letters[n % 26]}" for n in range(count)]


def archive(entries):
    """Serve the files of these entries (a context manager); their addresses are those of `template`."""
    return serve({f"{entry}.cif.gz": entry_file(entry) for entry in entries})


def template(server):
    return server.address + "/store/{id}.cif.gz"


def address(entry):
    return f"/store/{entry}.cif.gz"


def backbone_entry(entry, chains):
    """Return the gzipped mmCIF file of an entry with these backbones, 200 Angstrom apart.

    `chains` are pairs of a sequence (length L) and (L, 4, 3) coordinates.
    """
    model = gemmi.Model(1)
    for number, (sequence, coordinates) in enumerate(chains):
        chain = gemmi.Chain("ABCDEFGH"[number])
        for position, (letter, atoms) in enumerate(zip(sequence, coordinates, strict=True), start=1):
            residue = gemmi.Residue()
            residue.name = gemmi.expand_one_letter(letter, gemmi.ResidueKind.AA)
            residue.seqid = gemmi.SeqId(position, " ")
            for name, place in zip(("N", "CA", "C", "O"), atoms, strict=True):
                atom = gemmi.Atom()
                atom.name, atom.element = name, gemmi.Element(name[0])
                atom.pos = gemmi.Position(*(place + 200.0 * number).tolist())
                residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    structure = gemmi.Structure()
    structure.add_model(model)
    return structure_entry(entry, structure)


def structure_entry(entry, structure):
    """Return the gzipped mmCIF file of an entry with this structure."""
    structure.setup_entities()
    structure.name = structure.info["_entry.id"] = entry.upper()
    return gzip.compress(structure.make_mmcif_document().as_string().encode(), mtime=0)
