"""A generator whose traces are known: ideal helices and strands, a little off, in place of what a network draws."""

from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from synthetic import HELIX, STRAND

from betafold_mlx.generate import assessment, backbones
from betafold_mlx.generate.rings import Rings
from betafold_mlx.generate.settings import GeneratorConfig
from betafold_mlx.generate.validity import nearest_approach
from betafold_mlx.geometry import build_backbone
from betafold_mlx.peptide.sequence import residue_ids

GENERATOR = SimpleNamespace(
    model=SimpleNamespace(config=GeneratorConfig()), name="fake-par", sha256="0" * 64, trained_on=None
)
BROKEN, NOT_A_NUMBER = 5, 6
"""Numbers of samples that come out torn apart, and with NaN."""


def chain_of(torsions, letter="A"):
    """Return the backbone (L, 5, 3) of torsions (L, 3)."""
    angles = mx.array(np.asarray(torsions, np.float32))[None]
    return np.array(build_backbone(angles, mx.array(residue_ids(letter * len(torsions)))[None])[0])


def trace_of(length, seed, number, secondary=None):
    """Return the trace of a sample: helix, with an end that differs from one to the next, or what is asked for."""
    torsions = np.tile(HELIX, (length, 1))
    for place, letter in enumerate(secondary or ""):
        torsions[place] = STRAND if letter == "E" else HELIX
    torsions[-4:] += np.random.default_rng([seed, number]).normal(size=(4, 3)) * [0.08, 0.08, 0.02]
    trace = chain_of(torsions)[:, 1].copy()
    if number == BROKEN:
        trace[length // 2 :] += 9.0
    if number == NOT_A_NUMBER:
        trace[0, 0] = np.nan
    return trace


def ring_traces(lengths, seed=0):
    """Return traces (L, 3) of rings of ideal geometry that do not run through themselves: helix and strand, closed."""
    rng = np.random.default_rng(seed)
    traces = []
    for length in lengths:
        while True:
            kinds = np.where(rng.random((40, length, 1)) < 0.4, HELIX, STRAND)
            torsions = kinds + rng.normal(size=(40, length, 3)) * [0.3, 0.3, 0.03]
            rings = Rings(np.full(40, length), length, "ALA")
            closed, misfit = rings.closed(torsions)
            chains = [chain_of(each) for each in closed]
            good = [
                chain[:, 1].astype(float)
                for chain, off in zip(chains, misfit, strict=True)
                if off < 0.5 and nearest_approach(chain[:, 1], True) > 4.5
            ]
            if good:
                traces.append(good[0])
                break
    return traces


def draw(model, specs, seed, config):
    """Stand in for `betafold_mlx.generate.sampler.sample_traces`."""
    return [
        ring_traces([spec.length], spec.number)[0]
        if spec.cyclic
        else trace_of(spec.length, seed, spec.number, spec.secondary)
        for spec in specs
    ]


@pytest.fixture
def drawn(monkeypatch):
    """Let `generate_backbones` and `evaluate_generator` draw those traces; returns the generator to give them."""
    monkeypatch.setattr(backbones, "sample_traces", draw)
    monkeypatch.setattr(assessment, "sample_traces", draw)
    return GENERATOR
