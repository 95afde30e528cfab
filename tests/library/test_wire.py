"""Tasks and results arrive at another machine as they were."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from library_helpers import Quick

from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold.disulfides import DisulfidePattern
from betafold_mlx.fold.output import OUTPUT_FORMATS
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.geometry.closure import Bond
from betafold_mlx.library.settings import Settings
from betafold_mlx.library.sinks import make_sink
from betafold_mlx.library.wire import pack_folded, pack_task, unpack_folded, unpack_task
from betafold_mlx.library.work import Folded, Task, Work
from betafold_mlx.peptide.sequence import Peptide

PEPTIDES = [
    Peptide("GIGKFLHSAKKF", d_amino_acids=True, n_cap="ACE", c_cap="NH2"),
    Peptide("CCGAAACAAC", cyclic=True, disulfides=((1, 10), (2, 7))),
]
TASK = Task(["a", "_A_2"], ["a", "Ä\n\u2028/a"], PEPTIDES)


def work(output="files", **settings):
    settings = Settings(samples=2, batch_size=2, output=output, **settings)
    sink = make_sink(output, Path("never"), settings.format, settings.report)
    return Work(Quick(), settings, sink)


@pytest.fixture(scope="module")
def predictions():
    """Predictions of which nothing is as it is by default but the details, which do not travel."""
    first, second = work().fold(TASK)
    second = dataclasses.replace(
        second,
        bonds=((Bond("ring", (1, 10), 1.337, True), Bond("disulfide", (2, 7), 0.1 + 0.2, False)),) * 2,
        disulfide_patterns=(DisulfidePattern(((1, 10), (2, 7)), 2 / 3), DisulfidePattern(((1, 2),), 1e-12)),
        warnings=("odd Å", "two"),
        seed=7,
        model_name="m",
        model_sha256="f" * 64,
        embedder={"kind": "esm2", "label": "x", "layers": [1, None]},
    )
    unlike = [
        field.name
        for field in dataclasses.fields(Prediction)
        if field.default is not dataclasses.MISSING and getattr(second, field.name) == field.default
    ]
    assert unlike == ["details"]
    second.coordinates[1, 3, 4] = -0.0, 1e-45, np.inf
    return [first, second]


def test_a_task_arrives_as_it_was():
    assert unpack_task(pack_task(TASK)) == TASK
    assert unpack_task(pack_task(Task([], [], []))) == Task([], [], [])


def test_everything_of_a_prediction_arrives_as_it_was(predictions):
    for before, after in zip(
        predictions, unpack_folded(pack_folded(Folded(predictions, []))).predictions, strict=True
    ):
        for field in dataclasses.fields(Prediction):
            one, other = getattr(before, field.name), getattr(after, field.name)
            if isinstance(one, np.ndarray):
                assert (one.dtype, one.shape) == (other.dtype, other.shape)
                assert one.tobytes() == other.tobytes()  # NaN, denormals and signs of zero too
            else:
                assert one == other and type(one) is type(other), field.name
        assert "secondary_structure" in vars(after)  # not worked out again
        assert after.secondary_structure == before.secondary_structure
        assert repr(after) == repr(before)


def test_texts_and_what_is_wrong_with_one_arrive_in_their_places(predictions):
    rendered = [[b"", b"\x00\n\xff" * 1000], BetafoldError("a coordinate is not a number"), [], [b"last"]]
    folded = unpack_folded(pack_folded(Folded(predictions, rendered)))
    assert folded.rendered[0] == rendered[0] and folded.rendered[2:] == rendered[2:]
    assert isinstance(folded.rendered[1], BetafoldError) and str(folded.rendered[1]) == str(rendered[1])
    assert unpack_folded(pack_folded(Folded([], []))) == Folded([], [])


@pytest.mark.parametrize("output", OUTPUT_FORMATS)
def test_what_is_written_does_not_depend_on_who_rendered_it(tmp_path, output):
    if output == "parquet":
        pytest.importorskip("pyarrow")
    there = work(output, format="both" if output == "files" else "cif")
    made = there.fold(TASK)
    rendered = there.render(TASK, made)
    sent = unpack_folded(pack_folded(Folded(made, rendered))).rendered
    assert sent == rendered
    written = {}
    for place, items in (("here", there.render(TASK, there.fold(TASK))), ("there", sent)):
        (tmp_path / place).mkdir()
        sink = make_sink(output, tmp_path / place, "both")
        sink.restore(0)
        sink.write(TASK.names, items)
        sink.commit()
        sink.finish()
        written[place] = {
            path.name: path.read_bytes() for path in (tmp_path / place).rglob("*") if path.is_file()
        }
    assert written["here"] == written["there"] and written["here"]
    assert not Path("never").exists()
