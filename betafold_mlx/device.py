"""Choose the device that MLX computes on."""

from __future__ import annotations

import sys

import mlx.core as mx

from betafold_mlx._blas import HOW_TO_GET, has_openblas
from betafold_mlx.errors import BetafoldError

DEVICES = ("gpu", "cpu")


def use_device(name: str | None) -> None:
    """Compute on a device from here on; from Python, `mlx.core.set_default_device` does the same.

    Parameters
    ----------
    name : str or None
        ``gpu``, ``cpu``, or None for MLX's own choice: the GPU where there is one.

    Raises
    ------
    BetafoldError
        There is no GPU that MLX can use.
    """
    if name is None:
        return
    device = mx.gpu if name == "gpu" else mx.cpu
    if not mx.is_available(device):
        raise BetafoldError(
            "MLX finds no GPU here: leave out --device gpu (for an NVIDIA GPU install the extra cuda13 or cuda12)"
        )
    mx.set_default_device(device)


def advice() -> str | None:
    """Return how to make this machine faster, or None where nothing is missing."""
    slow = sys.platform.startswith("linux") and not has_openblas() and _on_cpu()
    return HOW_TO_GET if slow else None


def _on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu
