"""Conversion: what is written is what was read, verified, whole or not at all."""

import dataclasses
import json
import shutil

import mlx.core as mx
import numpy as np
import pytest
from esm_helpers import TINY, TINY_CONFIG, random_tensors, write_checkpoint

from betafold_mlx.errors import BetafoldError
from betafold_mlx.esm import convert as convert_module
from betafold_mlx.esm import hub, sizes
from betafold_mlx.esm.convert import convert
from betafold_mlx.esm.converted import load_esm
from betafold_mlx.esm.hub import read_checkpoint
from betafold_mlx.esm.tokenizer import encode
from betafold_mlx.files import file_sha256

TOKENS = mx.array(encode(["GIGKFLHSAKKFGKAFVGEIMNS", "M<mask>XBZUO"]))


@pytest.fixture
def tiny():
    return read_checkpoint(TINY)


def changed(checkpoint, name, array):
    return dataclasses.replace(checkpoint, arrays=checkpoint.arrays | {name: array})


def test_a_directory_and_what_it_says(tmp_path, tiny):
    conversion = convert(tiny, tmp_path / "a" / "tiny", "owner/tiny", commit="c0ffee")
    folder = tmp_path / "a" / "tiny"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]
    document = json.loads((folder / "config.json").read_text())
    assert document == {
        "model_type": "esm2-mlx",
        "schema_version": 1,
        "size": "2x24",
        "network": dataclasses.asdict(TINY_CONFIG),
        "dtype": "float32",
        "published": False,
        "checksum": "unknown",
        "weights_sha256": file_sha256(folder / "model.safetensors"),
        "source": {
            "name": "owner/tiny",
            "origin": "hub",
            "commit": "c0ffee",
            "sha256": file_sha256(TINY / "model.safetensors"),
            "files": [
                {
                    "name": "model.safetensors",
                    "bytes": (TINY / "model.safetensors").stat().st_size,
                    "sha256": file_sha256(TINY / "model.safetensors"),
                }
            ],
        },
    }
    assert conversion.verification.hidden < 1e-4 < 3 < conversion.verification.largest_hidden
    assert conversion.esm.path == folder
    card = (folder / "README.md").read_text()
    assert "owner/tiny" in card and "c0ffee" in card and document["source"]["sha256"] in card
    assert "not checked against the published" in card


def test_every_number_arrives(tmp_path, tiny):
    conversion = convert(tiny, tmp_path / "tiny", "tiny")
    stored = mx.load(str(tmp_path / "tiny" / "model.safetensors"))
    mapped = {source: target for source, target in conversion.tensors.items() if target}
    assert set(stored) == set(mapped.values())
    for source, target in mapped.items():
        np.testing.assert_array_equal(stored[target], tiny.arrays[source])


def test_equal_sources_give_equal_bytes(tmp_path, tiny):
    for name in ("a", "b"):
        convert(tiny, tmp_path / name, "tiny")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_shards_give_the_same_weights(tmp_path):
    tensors = random_tensors(TINY_CONFIG, 5)
    for shards, name in ((1, "one"), (4, "four")):
        source = write_checkpoint(tmp_path / f"hub-{name}", TINY_CONFIG, tensors, shards)
        convert(read_checkpoint(source), tmp_path / name, "random")
    assert file_sha256(tmp_path / "one" / "model.safetensors") == file_sha256(
        tmp_path / "four" / "model.safetensors"
    )


def test_float16_is_half_the_size_and_keeps_the_frequencies(tmp_path, tiny):
    exact = mx.array([1.1, 0.3, 0.07, 0.013])  # float32 numbers that float16 has not
    for name in list(tiny.arrays):
        if name.endswith("inv_freq"):
            tiny.arrays[name] = exact
    full, half = (convert(tiny, tmp_path / dtype, "tiny", dtype).esm for dtype in ("float32", "float16"))
    sizes = [(esm.path / "model.safetensors").stat().st_size for esm in (full, half)]
    assert sizes[1] < 0.6 * sizes[0]
    stored = mx.load(str(half.path / "model.safetensors"))
    assert stored.pop("inv_freq").dtype == mx.float32
    assert {array.dtype for array in stored.values()} == {mx.float16}
    np.testing.assert_array_equal(half.model.inv_freq, exact)
    assert half.model.embedding.weight.dtype == mx.float32  # computing goes on in float32
    difference = mx.abs(half.model.embed(TOKENS) - full.model.embed(TOKENS)).max().item()
    assert 0 < difference < 0.02
    assert half.sha256 != full.sha256 and half.source_sha256 == full.source_sha256


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("lm_head.bias", mx.zeros(32), r"language_head.bias is \(32,\), the model needs \(33,\)"),
        (
            "esm.encoder.layer.0.LayerNorm.weight",
            mx.array([mx.nan] * 24),
            "feed_forward_norm.weight holds NaN",
        ),
        ("lm_head.dense.bias", mx.zeros(24, dtype=mx.int32), "holds mlx.core.int32, not floating-point"),
        ("lm_head.dense.bias", mx.full(24, 1e5), "language_head.dense.bias is too large for float16"),
        ("classifier.dense.weight", mx.zeros(3), "has an unknown tensor classifier.dense.weight"),
        (
            "esm.encoder.layer.2.output.dense.bias",
            mx.zeros(24),
            "has an unknown tensor blocks.2.contract.bias",
        ),
    ],
)
def test_a_tensor_that_will_not_do_is_named(tmp_path, tiny, name, array, message):
    with pytest.raises(BetafoldError, match=message):
        convert(changed(tiny, name, array), tmp_path / "tiny", "tiny", "float16")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tensor_is_named(tmp_path, tiny):
    del tiny.arrays["esm.encoder.layer.1.output.dense.bias"]
    with pytest.raises(BetafoldError, match=r"lacks tensor blocks\.1\.contract\.bias"):
        convert(tiny, tmp_path / "tiny", "tiny")


@pytest.mark.parametrize(("one", "other"), [("query", "key"), ("attention_norm", "feed_forward_norm")])
def test_mixed_up_names_are_found_out(tmp_path, monkeypatch, tiny, one, other):
    """The verification reads the source by its own names."""

    def swapped(name):
        name = hub.our_name(name)
        return name.replace(one, "*").replace(other, one).replace("*", other)

    monkeypatch.setattr(convert_module, "our_name", swapped)
    with pytest.raises(BetafoldError, match="does not agree with the checkpoint"):
        convert(tiny, tmp_path / "tiny", "tiny")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), MemoryError])
def test_an_interrupted_conversion_leaves_nothing_and_keeps_the_older_one(tmp_path, monkeypatch, tiny, error):
    convert(tiny, tmp_path / "tiny", "tiny")
    before = {path.name: path.read_bytes() for path in (tmp_path / "tiny").iterdir()}

    def stop(*_):
        raise error

    monkeypatch.setattr(convert_module, "verify", stop)
    for output in (tmp_path / "tiny", tmp_path / "new"):
        with pytest.raises((KeyboardInterrupt, MemoryError, BetafoldError)):
            convert(tiny, output, "tiny", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "tiny").iterdir()} == before


def test_an_older_conversion_is_replaced_only_by_force(tmp_path, tiny):
    output = tmp_path / "tiny"
    convert(tiny, output, "first")
    with pytest.raises(BetafoldError, match="replace it with --force"):
        convert(tiny, output, "second")
    assert load_esm(output).name == "first"
    convert(tiny, output, "second", force=True)
    assert load_esm(output).name == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_conversion_is_never_replaced(tmp_path, tiny, force):
    folder = shutil.copytree(TINY, tmp_path / "hub")  # above all not the source
    (tmp_path / "file").write_text("")
    for path in (folder, tmp_path / "file", tmp_path):
        with pytest.raises(BetafoldError, match="is not a converted ESM-2"):
            convert(tiny, path, "tiny", force=force)


def test_a_directory_that_turns_up_meanwhile_is_kept(tmp_path, monkeypatch, tiny):
    verify = convert_module.verify

    def slow(*arguments):
        (tmp_path / "tiny").mkdir()
        (tmp_path / "tiny" / "thesis.txt").write_text("")
        return verify(*arguments)

    monkeypatch.setattr(convert_module, "verify", slow)
    with pytest.raises(BetafoldError, match="exists"):
        convert(tiny, tmp_path / "tiny", "tiny")
    assert [path.name for path in tmp_path.rglob("*")] == ["tiny", "thesis.txt"]


def test_only_the_published_checksum_makes_it_esm2(tmp_path, monkeypatch, tiny):
    monkeypatch.setitem(sizes.PUBLISHED, "2x24", tiny.sha256)
    esm = convert(tiny, tmp_path / "tiny", "owner/tiny").esm
    assert esm.published and esm.label == "owner/tiny (2x24, the published ESM-2 weights)"
    card = (tmp_path / "tiny" / "README.md").read_text()
    assert card.startswith("# ESM-2, converted") and "NOT" not in card
    monkeypatch.setitem(sizes.PUBLISHED, "2x24", "0" * 64)
    esm = load_esm(tmp_path / "tiny")  # what config.json claims of itself does not count
    assert not esm.published and "NOT the published" in esm.label and not esm.to_dict()["published"]
    convert(tiny, tmp_path / "other", "owner/tiny")
    card = (tmp_path / "other" / "README.md").read_text()
    assert card.startswith("# A network of the ESM-2 architecture") and "NOT the published" in card
