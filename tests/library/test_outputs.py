"""What stands in the containers, against the predictions."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from library_helpers import Quick, fold

LIBRARY = ">one\nGIGKFLHSAKKF\n>one all-d c-cap=NH2\nGRCTKSIPPICFPD\n>bad\nX\n>three cyclic\nCCCC\n"


@pytest.fixture(scope="module")
def quick():
    return Quick(side_chains=True)


@pytest.fixture
def folded(quick, tmp_path):
    def run(output):
        kept = []
        fold(quick, LIBRARY, tmp_path, written=kept.extend, samples=3, output=output)
        predictions = [(record.entry.name, record.result) for record in kept if record.files]
        assert [name for name, _ in predictions] == ["one", "one_2", "three"]
        return predictions

    return run


def test_json_lines_are_the_documents_with_names_and_coordinates(folded, tmp_path):
    predictions = folded("jsonl")
    lines = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    for line, (name, prediction) in zip(lines, predictions, strict=True):
        document = json.loads(line)
        assert document.pop("name") == name
        names = [of_residue.split() for of_residue in document.pop("atom_names")]
        assert names == [[name for name in row if name] for row in prediction.atom_names]
        models = [model.pop("coordinates") for model in document["models"]]
        assert document == prediction.to_dict()
        for model, atoms in zip(models, prediction.atoms, strict=True):
            assert [len(residue) for residue in model] == [len(of_residue) for of_residue in names]
            there = atoms[np.isfinite(atoms).all(axis=-1)]
            np.testing.assert_allclose([atom for residue in model for atom in residue], there, atol=5.1e-4)


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
def test_parquet_has_a_row_a_model(folded, tmp_path):
    import pyarrow.parquet as pq

    predictions = folded("parquet")
    table = pq.read_table(tmp_path / "predictions.parquet")
    rows = table.to_pylist()
    assert [(row["name"], row["rank"]) for row in rows] == [(n, k) for n, _ in predictions for k in (1, 2, 3)]
    about = json.loads(table.schema.metadata[b"betafold-mlx"])
    for row in rows:
        prediction = dict(predictions)[row["name"]]
        document, rank = prediction.to_dict(), row["rank"] - 1
        model = document["models"][rank]
        for key in ("id", "sequence", "warnings"):
            assert row[key] == document[key]
        for key in ("cluster", "secondary_structure", "stated_bonds"):
            assert row[key] == model[key]
        assert row["chemistry"] == prediction.peptide.chemistry
        assert row["atom_names"] == [" ".join(filter(None, names)) for names in prediction.atom_names]
        for key in ("seed", "versions", "embedder"):
            assert about[key] == document[key]
        assert row["rmsd_to_first"] == pytest.approx(model["rmsd_to_first"], abs=1e-3)
        assert row["mean_plddt"] == pytest.approx(prediction.plddt[rank].mean())
        arrays = {
            "plddt": prediction.plddt[rank],
            "coordinates": prediction.atoms[rank][np.isfinite(prediction.atoms[rank])],
            **dict(zip(("phi", "psi", "omega"), np.degrees(prediction.torsions[rank]).T, strict=True)),
        }
        for key, want in arrays.items():
            assert [value is None for value in row[key]] == np.isnan(want).tolist()
            np.testing.assert_allclose(np.array(row[key], float), want, rtol=1e-5)


@pytest.mark.parametrize("output", ["jsonl", "parquet"])
def test_a_new_container_replaces_an_older_one_as_a_whole(quick, tmp_path, output):
    if output == "parquet":
        pytest.importorskip("pyarrow")
    place = tmp_path / f"predictions.{output}"

    def size():
        return sum(path.stat().st_size for path in (place.iterdir() if place.is_dir() else [place]))

    def broken(records):
        raise KeyError("stop")

    fold(quick, LIBRARY * 30, tmp_path, output=output)
    large = size()
    with pytest.raises(KeyError):
        fold(quick, LIBRARY, tmp_path, output=output, written=broken)
    assert size() == large  # until there is a whole new one
    fold(quick, LIBRARY, tmp_path, output=output, restart=True)
    assert size() < large
    fold(quick, ">bad\nX\n", tmp_path, output=output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["errors.csv", "summary.csv"]


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path):
    program = (
        "import sys\nsys.modules['pyarrow'] = None\nfrom betafold_mlx.cli.main import main\n"
        "main(['fold', '-', '--output-format', 'parquet', '--model', 'betafold-mini'])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, input=">a\nGIGKFLHSAKKF\n", capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "needs pyarrow: install it with pip install 'betafold-mlx[parquet]'" in done.stderr
    assert list(tmp_path.iterdir()) == []
