"""A generator whose traces are known: ideal helices and strands, a little off, in place of what a network draws."""

import json
import math
from types import SimpleNamespace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map
from synthetic import HELIX, STRAND

from betafold_mlx.fold.gradient import CONTACTS
from betafold_mlx.generate import assessment, backbones
from betafold_mlx.generate.backbone_files import BackboneWriter
from betafold_mlx.generate.backbones import BackboneRequest, generate_backbones
from betafold_mlx.generate.chain_layout import make_layout
from betafold_mlx.generate.fit_problem import FitProblem
from betafold_mlx.generate.generator_config import GeneratorConfig, SamplingConfig
from betafold_mlx.generate.network import BackboneGenerator
from betafold_mlx.generate.rings import Rings
from betafold_mlx.generate.trace_states import torsion_states
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
    """Let `generate_backbones` and `assess_generator` draw those traces; returns the generator to give them."""
    monkeypatch.setattr(backbones, "sample_traces", draw)
    monkeypatch.setattr(assessment, "sample_traces", draw)
    return GENERATOR


TINY = GeneratorConfig(width=32, layers=2, decoder_layers=2, heads=4, ffn_width=64)


def shaken(config, seed=0, size=0.15):
    """A network none of whose weights is zero or one by design."""
    mx.random.seed(seed)
    model = BackboneGenerator(config)
    model.update(tree_map(lambda a: a + size * mx.random.normal(a.shape), model.parameters()))
    mx.eval(model.parameters())
    return model


LAYOUT = make_layout([16, 9, 12], [False, False, True], 16, 3, [None, "HHHHH----", None])


LETTERS = {"ALA": "A", "GLY": "G"}


def random_torsions(rng, length, residue="ALA"):
    """Torsions of states that are there, a little off."""
    states = torsion_states(residue)
    chosen = rng.choice(
        len(states.centres), size=length, p=np.exp(states.log_share) / np.exp(states.log_share).sum()
    )
    torsions = np.full((length, 3), math.pi)
    torsions[:, :2] = states.centres[chosen]
    return torsions + rng.normal(size=torsions.shape) * np.radians([8, 8, 3])


def problem_of(rng, lengths, atoms=(1,), known=False, residue="ALA", rings=False):
    length = max(lengths) + 2
    targets = np.zeros((len(lengths), length, len(atoms), 3))
    stated = np.full((len(lengths), length, 3), np.nan)
    for row, size in enumerate(lengths):
        chain = chain_of(random_torsions(rng, size), LETTERS[residue])
        targets[row, :size] = chain[:, list(atoms)] + 0.5 * rng.normal(size=(size, len(atoms), 3))
    if known:
        stated[:, 2:5] = rng.uniform(-3, 3, (len(lengths), 3, 3))
    start = rng.uniform(-3, 3, (len(lengths), length, 3))
    return FitProblem(targets, atoms, start, stated, residue, np.array(lengths), rings), length


def clashes_between(atoms, with_cb, around):
    """Return the energy of clashes and the deepest overlap of a chain (L, 5, 3), or a ring of `around` residues."""
    total = deepest = 0.0
    for a, b, closest in CONTACTS:
        if 4 in (a, b) and not with_cb:
            continue
        for i in range(len(atoms)):
            for j in range(len(atoms)):
                apart = abs(i - j) if around is None else min((i - j) % around, (j - i) % around)
                if apart < 3 or (a == b and i > j):
                    continue
                d = float(np.linalg.norm(atoms[i, a] - atoms[j, b]))
                if d < closest:
                    total += ((closest**2 - d**2) / (2 * closest)) ** 2
                    deepest = max(deepest, closest - d)
    return total, deepest


SAMPLING = SamplingConfig(steps=3)


def request(count=3, lengths=(12, 12), seed=1, **prompt):
    return BackboneRequest(lengths, count, seed, SAMPLING, **prompt)


def made(generator, wanted):
    return [backbone for batch in generate_backbones(generator, wanted) for backbone in batch]


def write_all(generator, wanted, directory, keep_failed=False, suffixes=(".cif", ".pdb")):
    writer = BackboneWriter(directory, suffixes, wanted, generator.name, generator.sha256, keep_failed)
    writer.begin()
    for backbone in made(generator, wanted):
        writer.write(backbone)
    return json.loads(writer.finish())
