"""NaN and infinity pass no public function silently: it raises, or its result is not finite either."""

import dataclasses
import json
import math

import mlx.core as mx
import numpy as np
import pytest
from cli_helpers import commands, error_line, run
from structure_helpers import prediction

import betafold_mlx
from betafold_mlx import Peptide, Predictor, geometry
from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import read_json
from betafold_mlx.generate.backbones import BackboneRequest
from betafold_mlx.generate.generator_config import SamplingConfig
from betafold_mlx.generate.prompt import CoarseShape, motif_of
from betafold_mlx.geometry import checks, frames, metrics, spread
from betafold_mlx.peptide.sequence import residue_ids

SEQUENCE = "CADEFGHIKC"
RING = Peptide.of(SEQUENCE, cyclic=True, disulfides=[(1, 10)])
RESIDUES = mx.array(residue_ids(SEQUENCE))[None]
GLYCINE = np.array([letter == "G" for letter in SEQUENCE])
TORSIONS = mx.array(np.tile(np.radians([-63.0, -42.0, 180.0]), (10, 1))[None].astype(np.float32))
GOOD = np.array(geometry.build_backbone(TORSIONS, RESIDUES))  # (1, L, 5, 3)


def points(atoms):
    """Return all CA (1, L, 3) for MLX."""
    return mx.array(atoms[:, :, 1])


def pair(atoms):
    return np.concatenate([GOOD, atoms])


# Each is called with (1, L, 5, 3) coordinates, one number of a CA being NaN or infinite.
CALLS = {
    geometry.backbone_torsions: lambda x: geometry.backbone_torsions(mx.array(x)),
    geometry.build_backbone: lambda x: geometry.build_backbone(mx.array(x[:, :, 1]), RESIDUES),
    geometry.dihedral: lambda x: geometry.dihedral(*(mx.array(x[0, :, k]) for k in range(4))),
    geometry.rmsd: lambda x: [geometry.rmsd(points(x), points(GOOD)), geometry.rmsd(points(GOOD), points(x))],
    geometry.superpose: lambda x: geometry.superpose(points(x), points(GOOD)),
    geometry.superposition: lambda x: geometry.superposition(points(x), points(GOOD)),
    geometry.wrap: lambda x: geometry.wrap(mx.array(x)),
    metrics.torsion_error: lambda x: metrics.torsion_error(mx.array(x), mx.array(GOOD)),
    metrics.backbone_rmsd: lambda x: metrics.backbone_rmsd(mx.array(x), mx.array(GOOD)),
    metrics.reconstruction_floor: lambda x: metrics.reconstruction_floor(mx.array(x), RESIDUES),
    metrics.ca_distance_error: lambda x: metrics.ca_distance_error(points(x), points(GOOD)),
    metrics.drmsd: lambda x: metrics.drmsd(points(x), points(GOOD)),
    metrics.lddt: lambda x: [metrics.lddt(points(x), points(GOOD)), metrics.lddt(points(GOOD), points(x))],
    metrics.gdt_ts: lambda x: [
        metrics.gdt_ts(points(x), points(GOOD)),
        metrics.gdt_ts(points(GOOD), points(x)),
    ],
    frames.from_three_points: lambda x: frames.from_three_points(*(mx.array(x[0, :, k]) for k in range(3))),
    frames.distances: lambda x: frames.distances(points(x), points(GOOD)),
    spread.measure_spread: lambda x: spread.measure_spread(pair(x)),
    spread.measure_apart: lambda x: spread.measure_apart(pair(x)),
    spread.superpose_models: lambda x: spread.superpose_models(pair(x)),
    checks.count_clashes: lambda x: checks.count_clashes(x, GLYCINE, False, ()),
    checks.measure_bonds: lambda x: [
        bond.distance for bond in checks.measure_bonds(RING, np.roll(x, 7, axis=1)[0])
    ],
}


def spoilt(value, place=(0, 3, 1, 0)):
    atoms = GOOD.copy()
    atoms[place] = value
    return atoms


def all_finite(result):
    if isinstance(result, (list, tuple)):
        return all(map(all_finite, result))
    return bool(np.isfinite(np.array(result, dtype=np.float64)).all())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.__name__)
def test_geometry_says_so(function, value):
    with np.errstate(invalid="ignore"):
        if function is checks.measure_bonds:
            assert all_finite(CALLS[function](GOOD))
            for atom in range(5):  # N and C of the ring; N, CA and CB of the disulfide
                place = (0, 3, atom, 0) if atom != 3 else (0, 3, 0, 0)
                bonds = checks.measure_bonds(RING, np.roll(spoilt(value, place), 7, axis=1)[0])
                assert not all(bond.formed for bond in bonds)
            return
        try:
            result = CALLS[function](spoilt(value))
        except (BetafoldError, np.linalg.LinAlgError):
            return
    results = result if function in (geometry.rmsd, metrics.lddt, metrics.gdt_ts) else [result]
    assert not any(map(all_finite, results))


def test_the_list_above_is_whole():
    listed = {function.__name__ for function in CALLS}
    assert set(geometry.__all__) - listed == {"has_cb"}  # of residue ids
    public = {
        name
        for name, value in vars(metrics).items()
        if callable(value) and value.__module__ == metrics.__name__
    }
    assert {name for name in public if not name.startswith("_")} - listed == {"masked_mean"}  # of any numbers


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_masked_may_hold_anything(value):
    mask = mx.array(np.arange(10) != 3)[None]
    a, b = points(spoilt(value)), points(GOOD)
    for function in (metrics.lddt, metrics.gdt_ts, metrics.drmsd, geometry.rmsd):
        assert all_finite(function(a, b, mask)), function.__name__


def test_predictions_hold_finite_numbers():
    good = prediction()
    good = dataclasses.replace(
        good, atoms=np.zeros((3, 12, 6, 3)), atom_names=(("N", "CA", "", "O", "", "H"),) * 12
    )
    wrong = [("coordinates", np.nan), ("coordinates", np.inf), ("plddt", np.nan), ("torsions", np.inf)]
    for name, value in [*wrong, ("atoms", np.nan), ("atoms", -np.inf)]:
        array = getattr(good, name).copy()
        array[..., -1] = value  # of an atom of `atoms` one coordinate
        with pytest.raises(BetafoldError, match="not finite"):
            dataclasses.replace(good, **{name: array})
    assert set(betafold_mlx.__all__) == {"BetafoldError", "Peptide", "Prediction", "Predictor", "__version__"}


@pytest.mark.parametrize("name", ["samples", "candidates", "seed", "batch_size"])
def test_numbers_of_a_fold_are_whole(name):
    for number in (math.nan, math.inf, 2.5):
        with pytest.raises(BetafoldError, match=f"{name} must be a whole number"):
            Predictor.fold_many(None, [RING], **{name: number})


def test_the_ph_is_a_number():
    for ph in (float("nan"), float("inf"), -1.0):
        with pytest.raises(BetafoldError, match="the pH must lie between 0 and 14"):
            dataclasses.replace(prediction(), atoms=np.zeros((3, 12, 5, 3)), atom_names=((),) * 12).relax(ph)


def test_prompts_hold_finite_numbers():
    line = np.arange(12, dtype=np.float32).reshape(4, 3)
    line[2, 1] = np.nan
    with pytest.raises(BetafoldError, match="not finite"):
        BackboneRequest((12, 12), 1, 0, SamplingConfig(), shape=CoarseShape(line, "here"))
    motif = motif_of(GOOD[0, 2:8, :4], 0, "here")
    motif.coordinates[1, 1, 1] = np.inf
    with pytest.raises(BetafoldError, match="not finite"):
        BackboneRequest((12, 12), 1, 0, SamplingConfig(), motif=motif)


def test_json_that_is_read_has_no_nan(tmp_path):
    for text in ("[NaN]", '{"x": -Infinity}'):
        (tmp_path / "x.json").write_text(text)
        assert json.loads(text)  # of Python's own reader
        with pytest.raises(BetafoldError, match="is not whole JSON"):
            read_json(tmp_path / "x.json")


def test_options_take_finite_numbers(tmp_path):
    ranged = 0
    for context in commands():
        for option in context.command.params:
            if option.type.name == "float range":
                ranged += 1
                for text in ("nan", "inf", "-inf"):
                    with pytest.raises(Exception, match="is not in the range"):
                        option.type.convert(text, option, context)
    assert ranged > 10
    code, _, said = run("fold", "ACDEFGHIK", "--relax", "--ph", "nan", cwd=tmp_path)
    assert code == 2 and "not in the range" in error_line(said)
