"""Where MLX computes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

import mlx.core as mx

import betafold_mlx
from betafold_mlx._blas import HOW_TO_GET, single_threaded_blas
from betafold_mlx.errors import BetafoldError
from betafold_mlx.lanes import lanes

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
    slow = sys.platform.startswith("linux") and not betafold_mlx.OPENBLAS and _on_cpu()
    return HOW_TO_GET if slow else None


def evaluated(makers: Sequence[Callable[[], mx.array]]) -> Iterator[mx.array]:
    """Build independent arrays and evaluate them; on a CPU, several at once.

    MLX multiplies matrices with all threads of the BLAS, and does all else with one. Here each array has one thread,
    and as many are made at once as there are; an array by itself has one as well, so that its last digits depend
    neither on the number of processors nor on what is made beside it.

    Parameters
    ----------
    makers : sequence of callable
        Each builds one array, lazily. They are called in order, a few at a time: that bounds the memory.

    Yields
    ------
    mx.array
        The evaluated arrays, in order.
    """
    streams = lanes()
    for first in range(0, len(makers), len(streams)):
        arrays = []
        for make, stream in zip(makers[first:], streams, strict=False):
            with mx.stream(stream):
                arrays.append(make())
        with single_threaded_blas():
            mx.eval(arrays)
        yield from arrays


def _on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu
