"""A folder with all that `embed` and training on ESM-2 features need."""

from cli_helpers import run
from esm_helpers import TINY, random_tensors, write_checkpoint
from synthetic import make_dataset

from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.sizes import EsmConfig

MAGAININ = "GIGKFLHSAKKFGKAFVGEIMNS"
LABEL = "owner/tiny (2x24, not checked against the published ESM-2 weights)"
WINDOWS = 3000  # two files of a cache
OPTIONS = [
    *("--steps", "6", "--evaluate-every", "3", "--warmup", "2", "--tokens", "192"),
    *("--layers", "1", "--width", "32", "--heads", "4", "--ffn-width", "64"),
]


def make_folder(path):
    """Make a data set, two ESM-2 (and the source of one), a cache, and a run on it."""
    make_dataset(held_out=1).save(path / "set")  # the confidence is fitted on validation: that takes the time
    convert(read_checkpoint(TINY), path / "tiny", "owner/tiny")
    other = EsmConfig(layers=1, width=24, heads=3, ffn_width=48)
    source = read_checkpoint(write_checkpoint(path / "hub", other, random_tensors(other, 1)))
    convert(source, path / "other", "owner/other")
    embedded = run("embed", "set", "--embedder", "tiny", "-o", "cache", "--windows", WINDOWS, cwd=path)
    assert embedded[0] == 0, embedded
    trained = run("train", "set", "--embedder", "tiny", "--cache", "cache", "-o", "run", *OPTIONS, cwd=path)
    assert trained[0] == 0, trained
    return path
