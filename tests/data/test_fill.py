"""Filling a cache of embeddings: what is missing, and that alone, whoever else is at it or was killed."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from esm_helpers import EMBEDDER, FINGERPRINT, contents, fill_toy, times, toy_embed
from synthetic import make_dataset

from betafold_mlx.data.fill import FillReporter, fill_cache
from betafold_mlx.data.plan import planned_sequences
from betafold_mlx.errors import BetafoldError
from betafold_mlx.executors import Workers
from betafold_mlx.model.inputs import PADDED_LENGTHS

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


class Heard(FillReporter):
    def __init__(self):
        self.total = self.embedded = 0
        self.said = []

    def begin(self, sequences):
        self.total = sequences

    def say(self, text):
        self.said.append(text)

    def advance(self, sequences):
        self.embedded += sequences


def test_each_sequence_is_embedded_once(tmp_path, dataset):
    seen = []

    def embed(sequences):
        seen.extend(sequences)
        return toy_embed(sequences)

    heard = Heard()
    filled = fill_toy(tmp_path / "deep" / "cache", dataset, embed, reporter=heard)
    assert sorted(seen) == sorted(planned_sequences(dataset, 100))
    assert filled.made == filled.cache.index.shards
    assert heard.total == heard.embedded == len(seen) and not heard.said


def test_a_whole_cache_needs_no_embedder(tmp_path, dataset, whole):
    fill_toy(tmp_path, dataset)
    before, heard = times(tmp_path), Heard()
    filled = fill_cache(tmp_path, dataset, FINGERPRINT, EMBEDDER, never_loaded, reporter=heard)
    assert (filled.made, filled.cache.index.windows) == (0, 100)  # the cache's own plan
    assert times(tmp_path) == before and contents(tmp_path) == whole
    assert heard.embedded == heard.total == 0


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
    assert changed <= {path.name}
    assert filled.cache(planned_sequences(dataset, 100)[:1], PADDED_LENGTHS[-1]) is not None


def test_a_lost_index_costs_no_shard(tmp_path, dataset, whole):
    fill_toy(tmp_path, dataset)
    # a kill came before its last step
    (tmp_path / "index.json").rename(tmp_path / ".index.999999999-0123abcd.json")
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
    with pytest.raises(BetafoldError, match=r"is not a cache of embeddings, and letter\.txt is in it"):
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
HOLDS_THE_LOCK = """
from betafold_mlx.files import locked
with locked(directory / ".lock", "busy"):
    print(True, flush=True)
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


@pytest.mark.slow
def test_another_process_is_waited_for(tmp_path, dataset, whole):
    process = child(HOLDS_THE_LOCK, tmp_path)
    assert process.stdout.readline() == "True\n"

    class Impatient(Heard):
        def say(self, text):
            super().say(text)
            assert not times(tmp_path)
            process.kill()

    heard = Impatient()
    with process:
        filled = fill_toy(tmp_path, dataset, reporter=heard)
    assert heard.said == [f"another process fills {tmp_path}: waiting for it"]
    assert filled.made == len(whole) - 1 and contents(tmp_path) == whole


@pytest.mark.slow
def test_processes_at_one_cache_make_each_shard_once(tmp_path, whole):
    processes = [child(FILLS, tmp_path) for _ in range(3)]
    made = []
    for process in processes:
        with process:
            made.append(int(process.stdout.read()))
        assert process.returncode == 0
    assert sum(made) == len(whole) - 1 and contents(tmp_path) == whole


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


def test_the_work_is_the_same_over_an_executor(tmp_path, dataset, whole):
    with ThreadPoolExecutor(3) as executor:
        fill_toy(tmp_path, dataset, workers=Workers(executor, lambda: 4))
    assert contents(tmp_path) == whole
