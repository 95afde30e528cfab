"""A folder of generated backbones: what is in it after one run, another, a failed and an interrupted one."""

import dataclasses
import json

import mlx.core as mx
import numpy as np
import pytest
from generate.test_files import made, request, write_all
from generate_fakes import drawn

from betafold_mlx.generate.files import BackboneWriter
from betafold_mlx.generate.sampler import SampleSpec
from betafold_mlx.generate.sampler import _noise as sampler_noise

__all__ = ["drawn"]


def test_an_open_ring_is_never_written(drawn, tmp_path, monkeypatch):
    """Not even where failed samples are kept: it would be a file with a broken bond."""
    wanted = request(1, cyclic=True)
    (backbone,) = made(drawn, wanted)
    for misfit, files_of in ((1.1, 0), (0.9, 2)):
        fit = backbone.fit._replace(rmsd=1.5, misfit=misfit)
        failed = dataclasses.replace(backbone, fit=fit, problems=fit.problems)
        writer = BackboneWriter(tmp_path, (".cif", ".pdb"), wanted, "m", "0" * 64, keep_failed=True)
        assert len(writer.write(failed)) == files_of
        said = writer.document()["samples"][0]["problems"]
        assert len(said) == (2 if misfit > 1 else 1) and "1.50 A" in said[-1]


def test_a_folder_holds_one_run(drawn, tmp_path):
    write_all(drawn, request(8), tmp_path, keep_failed=True)
    for name in ("mine.cif", "sample_1.pdb", "sample_00001.cif.bak"):
        (tmp_path / name).write_text("mine")
    write_all(drawn, request(2), tmp_path, suffixes=(".cif",))
    assert {path.name for path in tmp_path.iterdir()} == {
        *("sample_00001.cif", "sample_00002.cif", "summary.csv", "generation.json"),
        *("mine.cif", "sample_1.pdb", "sample_00001.cif.bak"),
    }


@pytest.mark.parametrize(
    "document",
    [None, "", "[]", "{]", '{"kind": "something else"}', "\ud800", pytest.param("[" * 100_000, id="deep")],
)
def test_what_is_not_of_generate_is_left(drawn, tmp_path, document):
    (tmp_path / "sample_00007.cif").write_text("mine")
    if document is not None:
        (tmp_path / "generation.json").write_bytes(document.encode("utf-8", "surrogatepass"))
    write_all(drawn, request(2), tmp_path)
    assert (tmp_path / "sample_00007.cif").read_text() == "mine"


def test_what_is_killed_leaves_a_folder_that_says_whose_it_is(drawn, tmp_path):
    wanted = request(4)
    writer = BackboneWriter(tmp_path, (".cif",), wanted, "m", "0" * 64)
    writer.begin()
    for backbone in made(drawn, wanted):
        writer.write(backbone)  # and no word at the end
    begun = json.loads((tmp_path / "generation.json").read_text())
    assert begun["made"] == 0 and begun["settings"]["num"] == 4
    write_all(drawn, request(1), tmp_path)
    assert {path.name for path in tmp_path.glob("sample_*")} == {"sample_00001.cif", "sample_00001.pdb"}


def test_lengths_say_nothing_of_the_noise():
    """Of one seed and number two streams are drawn: the length, and the noise of each scale."""
    wanted = request(1, lengths=(12, 28))
    lengths, first = [], {scale: [] for scale in range(3)}
    for number in range(1500):
        lengths.append(wanted.length_of(number))
        for scale, numbers in first.items():
            asked = SampleSpec(12, number)
            (noise,) = sampler_noise([asked], wanted.seed, scale, mx.ones((1, 12), dtype=mx.bool_), 1)
            numbers.append(abs(float(noise[0, 0, 0])))
    assert min(lengths) == 12 and max(lengths) == 28
    for numbers in first.values():
        assert abs(np.corrcoef(lengths, numbers)[0, 1]) < 0.1  # four standard errors
