"""Filling a cache of embeddings: what is missing, and that alone, whoever else is at it or was killed."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from esm_helpers import EMBEDDER, FINGERPRINT, contents, fill_toy, times, toy_embed, toy_embedding
from synthetic import make_dataset

from betafold_mlx.data import fill
from betafold_mlx.data.fill import Reporter, fill_cache
from betafold_mlx.data.locks import ByteLocks
from betafold_mlx.data.plan import make_plan
from betafold_mlx.distributed.ranks import Ranks
from betafold_mlx.errors import BetafoldError

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dataset():
    return make_dataset(chains=4, peptides=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, dataset):
    """The files of a cache that was filled without trouble."""
    return contents(fill_toy(tmp_path_factory.mktemp("whole") / "cache", dataset).cache.directory)


def never(sequences):
    raise AssertionError("nothing is missing")


class Heard(Reporter):
    def __init__(self):
        self.total = self.embedded = self.found = 0
        self.said = []

    def begin(self, sequences):
        self.total = sequences

    def say(self, text):
        self.said.append(text)

    def advance(self, sequences, embedded):
        self.embedded += sequences * embedded
        self.found += sequences * (not embedded)


def test_each_sequence_is_embedded_once(tmp_path, dataset):
    seen = []

    def embed(sequences):
        seen.extend(sequences)
        return toy_embed(sequences)

    heard = Heard()
    filled = fill_toy(tmp_path / "deep" / "cache", dataset, embed, reporter=heard)
    assert sorted(seen) == sorted(make_plan(dataset, 100).sequences)
    assert filled.made == filled.cache.index.shards
    assert heard.total == heard.embedded == len(seen) and heard.found == 0 and not heard.said


def test_a_whole_cache_needs_no_embedder(tmp_path, dataset, whole):
    fill_toy(tmp_path, dataset)
    before, heard = times(tmp_path), Heard()
    filled = fill_cache(tmp_path, dataset, FINGERPRINT, EMBEDDER, never_loaded, reporter=heard)
    assert (filled.made, filled.cache.index.windows) == (0, 100)  # the cache's own plan
    assert times(tmp_path) == before and contents(tmp_path) == whole
    assert heard.found == heard.total and heard.embedded == 0


def never_loaded():
    raise AssertionError("the embedder is not needed")


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[-7] ^= 4
    path.write_bytes(content)


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_empty(path):
    path.write_bytes(b"")


def damage_swap(path):
    path.write_bytes(path.with_name("shard-00001.safetensors").read_bytes())


@pytest.mark.parametrize("damage", [damage_flip, damage_cut, damage_empty, damage_swap, Path.unlink])
def test_a_damaged_shard_is_made_again_alone(tmp_path, dataset, whole, damage):
    fill_toy(tmp_path, dataset)
    path = tmp_path / "shard-00003.safetensors"
    before = times(tmp_path)
    damage(path)
    heard = Heard()
    filled = fill_toy(tmp_path, dataset, reporter=heard)
    assert filled.made == 1 and heard.embedded == 16 and contents(tmp_path) == whole
    assert [text.endswith("it is made again") and path.name in text for text in heard.said] == [True] * (
        damage is not Path.unlink
    )
    changed = {name for name, time in times(tmp_path).items() if time != before[name]}
    assert changed <= {path.name} and filled.cache(make_plan(dataset, 100).sequences[:1], 32) is not None


def test_a_lost_index_costs_no_shard(tmp_path, dataset, whole):
    fill_toy(tmp_path, dataset)
    (tmp_path / "index.json").rename(tmp_path / ".index.1-0123abcd.json")  # a kill came before its last step
    filled = fill_toy(tmp_path, dataset)
    assert filled.made == 0 and contents(tmp_path) == whole


def test_what_fails_keeps_what_is_done(tmp_path, dataset, whole):
    calls = []

    def embed(sequences):
        calls.append(len(sequences))
        if len(calls) == 3:
            raise BetafoldError("the embedding of X is not finite")
        return toy_embed(sequences)

    with pytest.raises(BetafoldError, match="not finite"):
        fill_toy(tmp_path / "cache", dataset, embed)
    assert sorted(times(tmp_path / "cache")) == ["shard-00000.safetensors", "shard-00001.safetensors"]
    filled = fill_toy(tmp_path / "cache", dataset)
    assert filled.made == len(whole) - 3 and contents(tmp_path / "cache") == whole


def test_an_embedder_that_cannot_be_loaded_leaves_no_cache(tmp_path, dataset):
    def load():
        raise BetafoldError("damaged weights")

    with pytest.raises(BetafoldError, match="damaged weights"):
        fill_cache(tmp_path / "cache", dataset, FINGERPRINT, EMBEDDER, load)
    assert contents(tmp_path / "cache") == {}


def test_folders_of_something_else_are_left_alone(tmp_path, dataset):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(BetafoldError, match=r"is no cache of embeddings, and letter\.txt is in it"):
        fill_toy(tmp_path, dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    for name in ("index.json", ".index.html"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(BetafoldError, match=r"index\.json is not a whole index"):
        fill_toy(tmp_path, dataset)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".index.html", "index.json", "letter.txt"]
    with pytest.raises(BetafoldError, match=r"cannot read .*letter\.txt: Not a directory"):
        fill_toy(tmp_path / "letter.txt", dataset)


def test_another_cache_is_refused_before_anything_is_done(tmp_path, dataset):
    import dataclasses

    fill_toy(tmp_path, dataset)
    before = contents(tmp_path)
    other = dataclasses.replace(EMBEDDER, sha256="f" * 64, label="other")
    with pytest.raises(BetafoldError, match="was made by toy"):
        fill_cache(tmp_path, dataset, FINGERPRINT, other, never_loaded)
    with pytest.raises(BetafoldError, match="another data set"):
        fill_cache(tmp_path, dataset, "c" * 64, EMBEDDER, never_loaded)
    for arguments in ({"windows": 101}, {"seed": 1}):
        with pytest.raises(BetafoldError, match="was planned with"):
            fill_toy(tmp_path, dataset, never, **arguments)
    assert contents(tmp_path) == before


# Other processes

CHILD = f"""\
import sys, time
from pathlib import Path
sys.path.insert(0, {str(HERE)!r})
from esm_helpers import fill_toy
from synthetic import make_dataset
from betafold_mlx.data.locks import ByteLocks
directory = Path(sys.argv[1])
"""
KILLED_IN_MID_WRITE = """
replace = Path.replace
def late(self, target):
    if "shard-00002" in str(target):
        print(self.name, flush=True)
        time.sleep(60)
    return replace(self, target)
Path.replace = late
fill_toy(directory, make_dataset(chains=4, peptides=4))
"""
HOLDS_A_LOCK = """
with ByteLocks(directory / ".lock") as locks, locks.at_once(3) as mine:  # that of the third shard
    print(mine, flush=True)
    time.sleep(60)
"""
FILLS = """
print(fill_toy(directory, make_dataset(chains=4, peptides=4)).made, flush=True)
"""


def child(program, directory):
    command = [sys.executable, "-c", CHILD + program, str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_kill_in_mid_write_costs_the_shard_in_work_alone(tmp_path, dataset, whole):
    with child(KILLED_IN_MID_WRITE, tmp_path) as process:
        temporary = tmp_path / process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
    assert temporary.is_file() and temporary.name.startswith(".shard-00002.")
    before = times(tmp_path)
    assert sorted(before) == ["shard-00000.safetensors", "shard-00001.safetensors"]
    filled = fill_toy(tmp_path, dataset)
    assert filled.made == len(whole) - 3 and contents(tmp_path) == whole  # the temporary file is gone too
    assert {name: times(tmp_path)[name] for name in before} == before


def test_a_shard_that_another_makes_is_waited_for(tmp_path, dataset, whole):
    """The other one dies without having made it, so it is made here; its temporary file stays while it lives."""
    process = child(HOLDS_A_LOCK, tmp_path)
    assert process.stdout.readline() == "True\n"
    temporary = tmp_path / ".shard-00002.1-0123abcd.safetensors"
    temporary.write_bytes(b"half")

    class Impatient(Heard):
        def say(self, text):
            super().say(text)
            assert temporary.exists() and len(times(tmp_path)) == len(whole) - 2  # all others are done
            process.kill()

    heard = Impatient()
    with process:
        filled = fill_toy(tmp_path, dataset, reporter=heard)
    assert heard.said == ["waiting for another process, which makes file 2"]
    assert filled.made == len(whole) - 1 and contents(tmp_path) == whole


def test_processes_at_one_cache_share_the_work(tmp_path, whole):
    processes = [child(FILLS, tmp_path) for _ in range(3)]
    made = []
    for process in processes:
        with process:
            made.append(int(process.stdout.read()))
        assert process.returncode == 0
    assert sum(made) == len(whole) - 1 and contents(tmp_path) == whole  # each shard once


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_whole_cache_on_a_read_only_disk_is_of_use(tmp_path, dataset, monkeypatch, number):
    fill_toy(tmp_path, dataset)
    monkeypatch.setattr(os, "open", refusing(os.open, number))
    assert fill_toy(tmp_path, dataset, never).made == 0


def refusing(function, number):
    def refuse(path, flags, *rest, **more):
        if Path(path).name == ".lock":
            raise OSError(number, os.strerror(number))
        return function(path, flags, *rest, **more)

    return refuse


def test_without_locks_nothing_of_others_is_deleted(tmp_path, dataset, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    tmp_path.joinpath(".shard-00000.1-0123abcd.safetensors").write_bytes(b"half")
    assert fill_toy(tmp_path, dataset).made > 1
    assert (tmp_path / ".shard-00000.1-0123abcd.safetensors").exists()


def test_locks_are_given_back(tmp_path):
    with ByteLocks(tmp_path / ".lock") as locks:
        with locks.at_once(1) as mine:
            assert mine and not taken(tmp_path, 1, free=True) and taken(tmp_path, 2, free=True)
        assert taken(tmp_path, 1, free=True)
        with locks.waiting(1, never_loaded):
            assert not taken(tmp_path, 1, free=True)


def taken(directory, byte, free):
    """Whether another process can have a lock."""
    program = f"with ByteLocks(directory / '.lock') as locks, locks.at_once({byte}) as mine: print(mine)"
    with child(program, directory) as process:
        return process.stdout.read() == f"{free}\n"


def test_embeddings_come_back_in_order(tmp_path, dataset):
    cache = fill_toy(tmp_path, dataset, shard_size=7).cache
    for sequence in make_plan(dataset, 100).sequences:
        np.testing.assert_array_equal(np.array(cache([sequence], len(sequence))[0]), toy_embedding(sequence))


# Ranks


class ThreadRanks(Ranks):
    """Ranks that are threads: they talk through a list."""

    def __init__(self, rank, board, turns):
        self.rank, self.size, self._board, self._turns = rank, len(board), board, turns

    def gather(self, value):
        self._board[self.rank] = value
        self._turns.wait(30)
        values = list(self._board)
        self._turns.wait(30)
        return values

    def broadcast_bytes(self, data, root):
        return self.gather(data)[root]


def fill_by_ranks(folders, dataset, **arguments):
    """Fill the cache of each rank in a thread of its own; return (Filled or the error, its Heard, what it embedded)."""
    board, turns = [None] * len(folders), threading.Barrier(len(folders))
    heard, embedded, results = [Heard() for _ in folders], [[] for _ in folders], [None] * len(folders)

    def run(rank):
        def embed(sequences):
            embedded[rank].extend(sequences)
            return toy_embed(sequences)

        ranks = ThreadRanks(rank, board, turns)
        try:
            results[rank] = fill_toy(
                folders[rank], dataset, embed, reporter=heard[rank], ranks=ranks, **arguments
            )
        except BetafoldError as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(folders))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return list(zip(results, heard, embedded, strict=True))


def test_ranks_with_disks_of_their_own_share_the_work_and_all_get_it(tmp_path, dataset, whole):
    folders = [tmp_path / f"disk{rank}" / "cache" for rank in range(3)]
    found = fill_by_ranks(folders, dataset)
    sequences = make_plan(dataset, 100).sequences
    assert sorted(sequence for _, _, made in found for sequence in made) == sorted(sequences)
    shards = found[0][0].cache.index.shards
    for (filled, heard, made), folder in zip(found, folders, strict=True):
        assert contents(folder) == whole and filled.made == shards > 3
        assert abs(len(made) - len(sequences) / 3) <= 16  # a shard more or less
        assert heard.total == heard.embedded == len(made)
        assert np.array_equal(
            np.array(filled.cache(sequences[-1:], 32))[0, : len(sequences[-1])], toy_embedding(sequences[-1])
        )


def test_ranks_make_what_none_has_and_mend_what_is_damaged(tmp_path, dataset, whole):
    folders = [tmp_path / f"disk{rank}" for rank in range(2)]
    for folder in folders:
        fill_toy(folder, dataset)
        (folder / "shard-00001.safetensors").unlink()
    damage_flip(folders[0] / "shard-00002.safetensors")
    (folders[1] / "shard-00004.safetensors").unlink()
    before = [times(folder) for folder in folders]
    found = fill_by_ranks(folders, dataset)
    plan = make_plan(dataset, 100)
    assert sorted(s for _, _, made in found for s in made) == sorted(
        plan.sequences[16:32]
    )  # the second, once
    for (filled, _, _), folder, old in zip(found, folders, before, strict=True):
        assert filled.made == 1 and contents(folder) == whole
        kept = old.keys() - {f"shard-{number:05}.safetensors" for number in (1, 2, 4)}
        assert kept and all(times(folder)[name] == old[name] for name in kept)


def test_ranks_on_one_disk_hand_nothing_round(tmp_path, dataset, whole, monkeypatch):
    monkeypatch.setattr(ThreadRanks, "broadcast_bytes", lambda self, data, root: pytest.fail("handed round"))
    # Locks are of processes, and these ranks are threads: one would sweep away what another is writing.
    monkeypatch.setattr(fill, "_sweep", lambda *_: None)
    found = fill_by_ranks([tmp_path] * 3, dataset)
    assert contents(tmp_path) == whole
    assert sum(len(made) for _, _, made in found) == len(make_plan(dataset, 100).sequences)


def test_ranks_must_make_the_same_cache(tmp_path, dataset):
    fill_toy(tmp_path / "disk1", dataset, seed=1)
    found = fill_by_ranks([tmp_path / "disk0", tmp_path / "disk1"], dataset, seed=None)
    assert all("rank 1 has a cache with seed 1, rank 0 0" in str(error) for error, _, _ in found)
