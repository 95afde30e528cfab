"""Small libraries, a model that folds them at once, and what a run left in its folder."""

import copy
import dataclasses
from pathlib import Path

import mlx.core as mx
import numpy as np
from structure_helpers import ideal, side_chains_of
from synthetic import toy_model

from betafold_mlx import Predictor
from betafold_mlx.fold.prediction import Prediction
from betafold_mlx.library.fold_library import fold_library
from betafold_mlx.library.settings import LibrarySettings
from betafold_mlx.model.directory import LoadedModel
from betafold_mlx.peptide.fasta import parse_fasta
from betafold_mlx.peptide.sequence import ALPHABET, MAX_LENGTH, Peptide


def toy_predictor():
    mx.random.seed(0)
    return Predictor(LoadedModel(toy_model(), "toy", "0" * 64, Path("toy")))


class Quick:
    """Stands in for `Predictor`: the same three models, cut to the length of every peptide that is asked for.

    What is written depends on the sequence, the samples, and the place in the batch: another batch shows in the bytes.
    """

    def __init__(self, side_chains=False):
        self.side_chains = side_chains
        rng = np.random.default_rng(0)
        self.loaded = LoadedModel(None, "toy", "0" * 64, Path("toy"))
        self.embedder = self.templates = self.templates_from = None
        self._long = Prediction(
            id="long",
            peptide=Peptide.of("A" * MAX_LENGTH),
            coordinates=np.stack([ideal("A" * MAX_LENGTH, seed=seed) for seed in range(3)]).astype(
                np.float32
            ),
            plddt=rng.uniform(0, 100, (3, MAX_LENGTH)).astype(np.float32),
            torsions=rng.uniform(-3, 3, (3, MAX_LENGTH, 3)).astype(np.float32),
            secondary_structure=("C" * MAX_LENGTH,) * 3,
            bonds=((), (), ()),
            clashes=(0, 1, 2),
            through=(False,) * 3,
            templates=(),
            threaded=(None,) * 3,
            seed=0,
            model_name="toy",
            model_sha256="0" * 64,
            embedder=self.describe_embedder(),
        )
        self.calls: list[tuple[int, int]] = []  # peptides, batch size

    def describe_embedder(self):
        return {"kind": "residue", "label": "a toy"}

    def again(self):
        other = copy.copy(self)
        other.calls = []
        return other

    def fold_many(
        self, peptides, *, ids, samples, candidates, seed, auto_disulfides, details, atoms, batch_size
    ):
        self.calls.append((len(peptides), batch_size))
        made = []
        for place, (name, peptide) in enumerate(zip(ids, peptides, strict=True)):
            n = len(peptide)
            coordinates = self._long.coordinates[:samples, :n] + np.float32(place + seed)
            coordinates[:, [letter == "G" for letter in peptide.sequence], 4] = np.nan
            made.append(
                dataclasses.replace(
                    self._long,
                    id=name,
                    peptide=peptide,
                    coordinates=coordinates,
                    **(side_chains_of(peptide, coordinates) if self.side_chains else {}),
                    plddt=self._long.plddt[:samples, :n],
                    secondary_structure=("C" * n,) * samples,
                    torsions=np.where(np.arange(n)[:, None] == 0, np.nan, self._long.torsions[:samples, :n]),
                    bonds=((),) * samples,
                    clashes=self._long.clashes[:samples],
                    through=(False,) * samples,
                    threaded=(None,) * samples,
                    seed=seed,
                    warnings=("short",) if n < 10 else (),
                )
            )
        return made


def fasta(count, seed=0):
    """Return FASTA text: every seventh record is wrong, ids come again, some headers say nothing."""
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(count):
        sequence = "".join(rng.choice(list(ALPHABET), rng.integers(4, MAX_LENGTH + 1)))
        name = ["", "same", f"p{number}", f"P{number - 1}", "same_2"][rng.integers(5)]
        lines += [f">{name}", sequence + "X" * (number % 7 == 3)]
    return "\n".join(lines) + "\n"


def fold(predictor, text, directory, records=None, **options):
    """Fold FASTA text; what `fold_library` does not know is a setting."""
    calls = ("processes", "scheduler", "restart", "resumed", "written")
    how = {name: options.pop(name) for name in calls if name in options}
    settings = LibrarySettings(**{"batch_size": 2, **options})
    records = records or parse_fasta(text.splitlines())
    return fold_library(predictor, records, directory, settings, **{"processes": 1, **how})


def contents(directory):
    """Return the bytes of every file in a folder, hidden ones too, by its path."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in Path(directory).rglob("*")
        if path.is_file()
    }
