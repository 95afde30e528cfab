"""Small-peptide structure prediction, native to MLX.

>>> from betafold_mlx import Predictor
>>> Predictor.load().fold("GIGKFLHSAKKFGKAFVGEIMNS").sequence
'GIGKFLHSAKKFGKAFVGEIMNS'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from betafold_mlx._blas import use_openblas
from betafold_mlx._machine import keep_freed_memory
from betafold_mlx._version import __version__

keep_freed_memory()
use_openblas()

__all__ = ["BetafoldError", "Peptide", "Prediction", "Predictor", "__version__"]

if TYPE_CHECKING:
    from betafold_mlx.errors import BetafoldError
    from betafold_mlx.fold.predictor import Prediction, Predictor
    from betafold_mlx.peptide.sequence import Peptide

_HOMES = {
    "Predictor": "fold.predictor",
    "Prediction": "fold.prediction",
    "Peptide": "peptide.sequence",
    "BetafoldError": "errors",
}


def __getattr__(name: str) -> Any:
    # On first use, so that `betafold-mlx --help` does not wait for MLX and gemmi.
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"betafold_mlx.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'betafold_mlx' has no attribute {name!r}")
