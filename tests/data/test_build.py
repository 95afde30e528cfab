from dataclasses import replace

import gemmi
import numpy as np
import pytest
from data_helpers import backbone, mutated, random_backbones, random_letters, spread, write
from structure_helpers import ideal, pdb, rows

from betafold_mlx.data import build as build_module
from betafold_mlx.data.build import build_dataset
from betafold_mlx.data.identity import min_net_identity
from betafold_mlx.data.scan import min_matches
from betafold_mlx.data.store import SPLITS, Dataset
from betafold_mlx.data.summary import empty_splits, format_report
from betafold_mlx.data.verify import verify_split
from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import TRAINED_LENGTHS


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture(scope="module")
def records():
    return random_backbones()


@pytest.fixture(scope="module")
def built(records, tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"), records)


def build(folder, records, seed=0):
    dataset, failed = build_dataset([write(folder / "records.jsonl.gz", records)], seed)
    assert failed == []
    return dataset


def by_id(dataset):
    return {record.id: record for record in dataset.records}


def left_out(dataset):
    return {name: (reason, details) for name, reason, details in dataset.report["dropped_records"]}


def test_every_record_is_kept_as_it_was(records, built):
    """Random sequences resemble nothing: none is dropped, and each keeps its fields and coordinates."""
    assert [record.id for record in built.records] == [record.id for record in records]
    for record, source in zip(built.records, records, strict=True):
        rows = slice(record.start, record.start + record.length)
        assert np.array_equal(built.coordinates[rows], source.coordinates)
        for name in ("sequence", "kind", "cyclic", "pdb", "chain", "method", "resolution"):
            assert getattr(record, name) == getattr(source, name)
    assert {split: len(built.peptides(split)) > 0 for split in SPLITS} == dict.fromkeys(SPLITS, True)
    assert {split: len(built.chains(split)) > 0 for split in SPLITS} == dict.fromkeys(SPLITS, True)


def test_torsions_and_masks_are_those_of_gemmi(built):
    for record in built.records[::7]:
        rows = slice(record.start, record.start + record.length)
        atoms = [[gemmi.Position(*map(float, xyz)) for xyz in residue] for residue in built.coordinates[rows]]
        expected, defined = np.zeros((record.length, 3)), np.zeros((record.length, 3), bool)
        for i, (n, ca, c, _) in enumerate(atoms):
            if i > 0:
                expected[i, 0] = gemmi.calculate_dihedral(atoms[i - 1][2], n, ca, c)
            if i + 1 < record.length:
                expected[i, 1] = gemmi.calculate_dihedral(n, ca, c, atoms[i + 1][0])
                expected[i, 2] = gemmi.calculate_dihedral(ca, c, atoms[i + 1][0], atoms[i + 1][1])
            defined[i] = i > 0, i + 1 < record.length, i + 1 < record.length
        assert np.array_equal(built.torsion_mask[rows], defined)
        difference = np.angle(np.exp(1j * (built.torsions[rows] - expected)))
        assert np.degrees(np.abs(difference)).max() < 0.05
        assert (built.torsions[rows][~defined] == 0).all()


def test_the_same_sources_and_seed_give_the_same_files(records, built, tmp_path):
    again = build(tmp_path, records)
    for name, dataset in (("one", built), ("two", again)):
        dataset.save(tmp_path / name, format_report(dataset.report))
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert Dataset.load(tmp_path / "one").records == built.records
    other = build(tmp_path, records, seed=1)
    assert [r.split for r in other.records] != [r.split for r in built.records]


def test_fragments_are_windows_of_evaluation_chains(built):
    assert {fragment.split for fragment in built.fragments} == {"validation", "test"}
    for fragment in built.fragments:
        record = built.records[fragment.record]
        assert not record.is_peptide and (record.split, record.cluster) == (fragment.split, fragment.cluster)
        assert TRAINED_LENGTHS[0] <= fragment.length <= TRAINED_LENGTHS[1]
        assert 0 <= fragment.start <= record.length - fragment.length
    for n, one in enumerate(built.fragments):
        for other in built.fragments[:n]:
            if one.record == other.record:
                assert one.start >= other.start + other.length or other.start >= one.start + one.length


def test_duplicates_are_dropped_and_the_best_is_kept(tmp_path):
    sequence = "GRCTKSIPPICFPDKLWE"
    turned = sequence[5:] + sequence[:5]
    records = [
        backbone("nmr", sequence, method="SOLUTION NMR"),
        backbone("low", sequence, method="X-RAY DIFFRACTION", resolution=2.5),
        backbone("high", sequence, method="X-RAY DIFFRACTION", resolution=1.2),
        backbone("equal", sequence, method="X-RAY DIFFRACTION", resolution=1.2),
        backbone("bound", sequence, "bound"),
        backbone("ring", sequence, cyclic=True),
        backbone("turned", turned, cyclic=True),
        backbone("turned_linear", turned),
    ]
    dataset = build(tmp_path, records)
    assert [record.id for record in dataset.records] == ["high", "bound", "ring", "turned_linear"]
    assert {name: reason for name, (reason, _) in left_out(dataset).items()} == dict.fromkeys(
        ["nmr", "low", "equal", "turned"], "duplicates"
    )
    assert left_out(dataset)["turned"][1] == "of ring" and left_out(dataset)["equal"][1] == "of high"
    assert len({record.cluster for record in dataset.records}) == 1


def test_short_records_are_dropped_and_equal_ids_told_apart(tmp_path):
    records = [backbone("x", "ACDEFGH"), backbone("y", "ACDEFGHI"), backbone("y", "WYVTSRQPNMLK")]
    dataset = build(tmp_path, records)
    assert [record.id for record in dataset.records] == ["y", "y_2"]
    assert left_out(dataset) == {"x": ("too short", "7 of 8 residues")}


def test_relatives_of_a_test_peptide_go_where_it_goes(records, built, tmp_path, rng):
    """A mutant as alike as the threshold asks, and a turned ring, join the cluster and so the split."""
    ring = next(r for r in built.peptides("test") if r.cyclic)
    chain = next(r for r in built.peptides("test") if not r.cyclic)
    half = spread(chain.sequence, min_net_identity(chain.length))
    turned = mutated(ring.sequence[4:] + ring.sequence[:4], rng, 2)
    dataset = build(
        tmp_path, [*records, backbone("half", half, chain.kind), backbone("turned", turned, "free", True)]
    )
    found = by_id(dataset)
    assert found["half"].cluster == found[chain.id].cluster
    assert found["turned"].cluster == found[ring.id].cluster
    assert found["half"].split == found[chain.id].split and found["turned"].split == found[ring.id].split


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_training_chain_with_an_evaluation_peptide_is_dropped(records, built, tmp_path, split, rng):
    """Planted: an exact copy, a mutated one, and a mutated rotation of a ring."""
    linear = max((r for r in built.peptides(split) if not r.cyclic), key=lambda r: r.length)
    ring = max((r for r in built.peptides(split) if r.cyclic), key=lambda r: r.length)
    turned = ring.sequence[6:] + ring.sequence[:6]
    planted = {
        "exact": linear.sequence,
        "mutant": spread(linear.sequence, min_matches(linear.length)),
        "ring": mutated(turned, rng, 3),
    }
    family = [backbone(f"train{n}", random_letters(rng, 40) * 2, "chain") for n in range(4)]
    chains = [
        backbone(name, random_letters(rng, 40) + piece + random_letters(rng, 40), "chain", cluster=1)
        for name, piece in planted.items()
    ]
    # One cluster of more than 0.2 % of the chains, so that it is for training.
    dataset = build(tmp_path, [*records, *chains, *(replace(chain, cluster=1) for chain in family)])
    found, dropped = by_id(dataset), left_out(dataset)
    assert {found[chain.id].split for chain in family} == {"train"}
    for name, peptide in (("exact", linear), ("mutant", linear), ("ring", ring)):
        assert found[peptide.id].split == split
        assert name not in found
        assert dropped[name] == ("chains with an evaluation peptide", f"{peptide.id} ({split})")


def test_windows_like_training_are_not_cut(records, built, tmp_path):
    """Train peptides that tile one test chain, mutated: no window of that chain may remain."""
    fragment = next(f for f in built.fragments if f.split == "test")
    chain = built.records[fragment.record]
    train = next(r for r in built.peptides("train") if not r.cyclic and r.length >= 14)
    tiles = [chain.sequence[start : start + 18] for start in range(0, chain.length - 18, 6)]
    family = [
        backbone(f"tile{n}", (train.sequence[:12] + tile)[:32], train.kind) for n, tile in enumerate(tiles)
    ]
    dataset = build(tmp_path, [*records, *family])
    found = by_id(dataset)
    assert {found[tile.id].split for tile in family} == {"train"}  # one large cluster
    assert found[chain.id].split == "test"
    assert chain.id not in {dataset.records[f.record].id for f in dataset.fragments}
    assert dataset.report["fragments_dropped"]["like training"] > 0


def test_sequences_of_few_letters_still_split_cleanly(tmp_path):
    """Low complexity: nearly everything resembles everything. The build verifies itself, whatever remains."""
    for seed, letters in enumerate(["AG", "ACDE", "ACDEFGHI"]):
        dataset = build(tmp_path, random_backbones(seed, peptides=20, chains=12, letters=list(letters)))
        assert dataset.records and dataset.report["kept"] == len(dataset.records)


def change(dataset, record, **changes):
    """The data set with one record changed."""
    records = [replace(r, **changes) if r.id == record.id else r for r in dataset.records]
    return replace(dataset, records=records)


def test_verify_finds_a_cluster_in_two_splits(built):
    test, train = built.peptides("test")[0], built.peptides("train")[0]
    with pytest.raises(BetafoldError, match=r"split leak: cluster .* lies in two splits"):
        verify_split(change(built, test, cluster=train.cluster))


@pytest.mark.parametrize("later", ["validation", "test"])
def test_verify_finds_alike_peptides(built, later):
    record = max(built.peptides(later), key=lambda r: r.length)
    train = max((r for r in built.peptides("train") if not r.cyclic), key=lambda r: r.length)
    sequence = spread(train.sequence, min_net_identity(train.length))
    leak = change(built, record, sequence=sequence, length=len(sequence), cyclic=False)
    with pytest.raises(BetafoldError, match="is alike"):
        verify_split(leak)


@pytest.mark.parametrize(
    ("later", "earlier"), [("validation", "train"), ("test", "train"), ("test", "validation")]
)
def test_verify_finds_a_peptide_in_an_earlier_chain(built, later, earlier):
    peptide = max(built.peptides(later), key=lambda r: r.length)
    chain = built.chains(earlier)[0]
    near = spread(peptide.sequence, min_matches(peptide.length))
    for piece, message in ((near, "is part of"), (peptide.sequence, "is in")):
        sequence = chain.sequence[:20] + piece + chain.sequence[20 + len(piece) :]
        with pytest.raises(BetafoldError, match=message):
            verify_split(change(built, chain, sequence=sequence))


def test_verify_finds_words_shared_by_chains_and_fragments(built):
    fragment = next(f for f in built.fragments if f.split == "test" and f.length >= 20)
    piece = built.fragment_sequence(fragment)
    for earlier in ("train", "validation"):
        chain = built.chains(earlier)[0]
        sequence = piece[:8] + chain.sequence[8:]
        with pytest.raises(BetafoldError, match=f"{piece[:8]} is in"):
            verify_split(change(built, chain, sequence=sequence))
        near = spread(piece, min_matches(len(piece)))
        sequence = near + chain.sequence[len(near) :]
        with pytest.raises(BetafoldError, match=f"the test fragment {piece} matches"):
            verify_split(change(built, chain, sequence=sequence))


def test_build_runs_the_verification(records, tmp_path, monkeypatch, rng):
    """A build whose splits leak stops: here every peptide is its own cluster, mutants or not."""
    monkeypatch.setattr(build_module, "connected_components", lambda count, pairs: np.arange(count))
    twins = [replace(r, id=f"{r.id}x", sequence=mutated(r.sequence, rng, 1)) for r in records[:30]]
    with pytest.raises(BetafoldError, match="split leak"):
        build(tmp_path, [*records, *twins])


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_few_structure_files(tmp_path, count):
    for n in range(count):
        sequence = random_letters(np.random.default_rng(n), 12 + n)
        (tmp_path / f"x{n}.pdb").write_text(pdb(rows(sequence, ideal(sequence))))
    progress = []
    dataset, failed = build_dataset([tmp_path], progress=progress.append)
    assert failed == [] and len(dataset.records) == count and dataset.fragments == []
    assert [record.id for record in dataset.records] == [f"x{n}_A" for n in range(count)]
    assert all(record.is_peptide and record.kind == "free" for record in dataset.records)
    assert progress[0] == f"read {count} structure files: {count} chains"
    empty = empty_splits(dataset.report)
    assert len(empty) == {1: 2, 2: 1, 3: 1, 10: 0}[count]
    dataset.save(tmp_path / "ds")
    assert Dataset.load(tmp_path / "ds").records == dataset.records


def test_chains_only_and_all_one_cluster(tmp_path):
    rng = np.random.default_rng(4)
    shared = random_letters(rng, 30)
    chains = [backbone(f"c{n}", random_letters(rng, 30) + shared, "chain") for n in range(6)]
    dataset = build(tmp_path, chains)
    assert {record.split for record in dataset.records} == {"train"} and dataset.fragments == []
    assert len({record.cluster for record in dataset.records}) == 1
    assert [text.split()[1] for text in empty_splits(dataset.report)] == ["validation", "test"]
    assert dataset.report["test_to_train_identity"] == {}


def test_disulfides_of_chains_are_inferred_and_marked(shared_data, tmp_path):
    import gzip
    import json

    with gzip.open(shared_data / "chains.jsonl.gz", "rt") as file:
        lines = [line for line, _ in zip(file, range(60), strict=False)]
    (tmp_path / "chains.jsonl").write_text("".join(lines))
    dataset, _ = build_dataset([tmp_path / "chains.jsonl"])
    inferred = [record for record in dataset.records if record.disulfides_inferred]
    assert inferred and all(record.disulfides for record in inferred)
    assert all(not record.disulfides for record in dataset.records if not record.disulfides_inferred)
    for record in inferred:
        assert {record.sequence[k - 1] for pair in record.disulfides for k in pair} == {"C"}
    clusters = {json.loads(line)["id"]: json.loads(line)["cluster"] for line in lines}
    assert {record.id: record.source_cluster for record in dataset.records} == clusters


def test_shared_peptides_and_some_chains(shared_data, tmp_path):
    """The real peptides, with chains enough to have windows of every split."""
    import gzip

    with gzip.open(shared_data / "chains.jsonl.gz", "rt") as file:
        lines = [line for line, _ in zip(file, range(60), strict=False)]
    (tmp_path / "chains.jsonl").write_text("".join(lines))
    dataset, failed = build_dataset([shared_data / "peptides.jsonl.gz", tmp_path / "chains.jsonl"])
    assert failed == []
    counts = {split: len(dataset.peptides(split)) for split in SPLITS}
    assert sum(counts.values()) == 401  # four are rotations of a ring
    assert 0.50 < counts["train"] / 401 < 0.60 and 0.25 < counts["test"] / 401 < 0.35
    free = {s: sum(r.kind in ("free", "oligomer") for r in dataset.peptides(s)) for s in SPLITS}
    assert sum(free.values()) == 94 and free["test"] >= 25 and free["validation"] >= 10
    assert {fragment.split for fragment in dataset.fragments} == {"validation", "test"}
    assert np.isfinite(dataset.torsions).all() and np.abs(dataset.torsions).max() <= np.float32(np.pi)
    unmasked = np.count_nonzero(~dataset.torsion_mask)
    assert unmasked == 3 * len(dataset.records)
    assert dataset.report["test_to_train_identity"]["max_identity"] < 0.7
