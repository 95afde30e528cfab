"""A small archive of PDB entries, for a server of one's own."""

import gzip
import random

import gemmi
from file_server import serve


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
