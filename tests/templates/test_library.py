"""Template libraries in files, and the codes that are searched."""

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from template_helpers import library_of

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import ALPHABET, Peptide
from betafold_mlx.templates.library import GAP_CODE, TemplateLibrary
from betafold_mlx.templates.search import search

RING = ("GRCTKSIPPICFPD", ((3, 11),), True)
LIBRARY = library_of(["ACDEFGHIKL", RING, ("CACDEFGC", ((1, 8),)), ("GVPGAVGPLK", (), True)])
ARRAYS = [
    field.name for field in dataclasses.fields(TemplateLibrary) if field.name not in ("names", "chains")
]


def damaged(path, metadata=None, **changes):
    """Write `LIBRARY` with other arrays (None: without one) or other metadata."""
    arrays = {name: getattr(LIBRARY, name) for name in ARRAYS} | changes
    kept = {name: mx.array(array) for name, array in arrays.items() if array is not None}
    LIBRARY.save(path)
    _, own = mx.load(str(path), return_metadata=True)
    own = {key: value for key, value in own.items() if key in ("schema_version", "names")}
    mx.save_safetensors(str(path), kept, own | (metadata or {}))
    return path


def test_a_file_gives_back_what_was_saved(tmp_path):
    path = tmp_path / "templates.safetensors"
    LIBRARY.save(path)
    loaded = TemplateLibrary.load(path)
    assert loaded.names == LIBRARY.names and loaded.fingerprint == LIBRARY.fingerprint
    for name in ARRAYS:
        ours, theirs = getattr(LIBRARY, name), getattr(loaded, name)
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        assert ours.tobytes() == theirs.tobytes()  # NaN of undefined torsions too
    assert [loaded.sequence(entry) for entry in range(4)] == ["ACDEFGHIKL", RING[0], "CACDEFGC", "GVPGAVGPLK"]
    assert np.isnan(loaded.torsions[0, 0]) and not np.isnan(loaded.torsions[0, 1:]).any()
    LIBRARY.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.safetensors", "templates.safetensors"]


def refused(path):
    with pytest.raises(BetafoldError) as raised:
        TemplateLibrary.load(path)
    (line,) = str(raised.value).splitlines()
    assert str(path) in line
    return line


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file(tmp_path, share):
    path = tmp_path / "templates.safetensors"
    LIBRARY.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "not a whole template library" in refused(path)


def test_what_is_no_library(tmp_path):
    assert "no template library" in refused(tmp_path / "missing")
    assert "no template library" in refused(tmp_path)
    text = tmp_path / "text"
    text.write_text("ATOM      1  N   GLY A   1\n" * 50)
    assert "not a whole template library" in refused(text)
    foreign = tmp_path / "model.safetensors"
    mx.save_safetensors(str(foreign), {"weight": mx.zeros((3, 3))})
    assert "not a whole template library" in refused(foreign)
    assert "another version" in refused(damaged(tmp_path / "newer.safetensors", {"schema_version": "2"}))


def changed(name, index, value, dtype=None):
    array = getattr(LIBRARY, name).astype(dtype or getattr(LIBRARY, name).dtype)
    array[index] = value
    return {name: array}


@pytest.mark.parametrize(
    "changes",
    [
        changed("ca", (3, 1), np.nan),
        changed("ca", (3, 1), np.inf),
        changed("torsions", (3, 1), np.inf),
        changed("residues", 5, len(ALPHABET)),
        changed("partner", 3, 14),
        changed("partner", 3, -2),
        changed("partner", 12, 3),  # 3 is bonded to 11, not to 4
        changed("offsets", 1, 0),
        changed("offsets", 0, 1),
        changed("offsets", -1, 10**6),
        {"ca": LIBRARY.ca[:-1]},
        {"torsions": LIBRARY.torsions[:, :2]},
        {"clusters": None},
        {"cyclic": LIBRARY.cyclic[:-1]},
        {"further": np.zeros(3)},
        {"residues": LIBRARY.residues.astype(np.float32)},
        {"residues": LIBRARY.residues[None]},
        {"offsets": LIBRARY.offsets.astype(np.float32)},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_file_with_impossible_content(tmp_path, changes):
    assert "not a whole template library" in refused(damaged(tmp_path / "library.safetensors", **changes))


@pytest.mark.parametrize(
    "names", ['["a", "b"]', "3", "[1, 2, 3, 4]", '"abcd"', "[", '["a", "b", "c", null]'], ids=range(6)
)
def test_names_that_are_none(tmp_path, names):
    assert "not a whole template library" in refused(
        damaged(tmp_path / "library.safetensors", {"names": names})
    )


def test_codes_of_every_rotation_by_hand():
    entry, first = LIBRARY.rotations
    assert len(LIBRARY.codes) == len(entry) == 1 + 14 + 1 + 10
    longest = 14
    rows = iter(zip(entry.tolist(), first.tolist(), LIBRARY.codes.tolist(), strict=True))
    for number in range(4):
        span = LIBRARY.rows(number)
        letters = LIBRARY.residues[span].tolist()
        bonds = LIBRARY.partner[span].tolist()
        for turn in range(len(letters) if LIBRARY.cyclic[number] else 1):
            order = [(turn + place) % len(letters) for place in range(len(letters))]
            want = []
            for place, residue in enumerate(order):
                code = letters[residue]
                if bonds[residue] >= 0:
                    code += 20 if order.index(bonds[residue]) > place else 40
                want.append(code)
            want += [GAP_CODE] * (longest - len(want))
            assert next(rows) == (number, turn, want)
    assert next(rows, None) is None


@pytest.mark.parametrize("keep", [[1, 0, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
def test_a_part_of_a_library_is_a_library(keep):
    part = LIBRARY.subset(np.array(keep, dtype=bool))
    kept = np.flatnonzero(keep)
    assert part.names == tuple(LIBRARY.names[entry] for entry in kept) and len(part) == len(kept)
    for new, old in enumerate(kept):
        assert part.sequence(new) == LIBRARY.sequence(old) and part.cyclic[new] == LIBRARY.cyclic[old]
        for name in ("partner", "ca", "torsions"):
            ours, theirs = getattr(part, name)[part.rows(new)], getattr(LIBRARY, name)[LIBRARY.rows(old)]
            np.testing.assert_array_equal(ours, theirs)
    found = {hit.name for hit in search(Peptide.of(RING[0], cyclic=True), part, 9)}
    assert ("1ABC_A" in found) == bool(keep[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ("another", *LIBRARY.names[1:])},
        {"names": ("0ABC_A\n1ABC_A", "2ABC_A", "3ABC_A", "")},
        changed("residues", 5, 3),
        changed("partner", 20, -1),
        changed("cyclic", 3, False),
        changed("ca", (2, 0), 1.0),
        changed("torsions", (2, 0), 1.0),
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_fingerprint_follows_the_content(changes):
    other = dataclasses.replace(LIBRARY, **changes)
    assert other.fingerprint != LIBRARY.fingerprint and len(other.fingerprint) == 64
    assert dataclasses.replace(LIBRARY).fingerprint == LIBRARY.fingerprint
