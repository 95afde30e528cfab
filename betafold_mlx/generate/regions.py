"""Where (phi, psi) lies in known structures: the states that a C-alpha trace is read with.

The counts are those of `betafold_mlx.generate.favoured.count_torsions` on the training split of the data set that the
bundled models are trained on (SHA-256 a31fa266...), 20 degrees a cell, per 10,000 residues: 772,434 that are neither
Gly nor Pro, and 63,674 Gly.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

CELL = 20
"""Degrees."""

FEWEST = 2
"""Per 10,000: cells with fewer residues are no states."""

# Rows: phi from -180 up; columns: psi from -180 up.
_ALA = """
  11    1    0    0    0    1    1    1    1    1    1    1    2    4    6   19   48   53
  22    2    1    1    1    2    3    3    4    6    6    6   13   17   41  127  228  133
  20    3    1    1    2    6   12   18   32   37   27   15   29   40  140  404  373  138
  15    3    2    2    3   11   34   53   90  114   48   11   12   41  212  455  256   81
  19    3    1    1    3   13   77  154  229  142   22   14   31   47  163  298  200   89
   9    1    1    1    3   28 1090 1141  291   31    5    5   10   17   76  289  269   81
   1    0    0    0    2   34  684  331   25    2    0    0    1    2   17  123   59    8
   0    0    0    0    1    7   16    5    0    0    0    0    0    1    3    5    2    0
   0    0    0    0    0    1    1    0    0    0    0    0    0    0    1    0    0    0
   0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0
   0    0    0    0    0    0    0    0    0    0    1    4    3    1    0    0    0    0
   1    2    6    3    1    1    0    0    1    4   45   71   15    2    1    0    0    1
   1    1    1    1    1    2    5    3    7   26   34   12    4    2    2    1    1    1
   0    0    0    0    0    0    1    1    3    2    1    0    0    1    1    0    1    0
   0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0
   0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0
   0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0    0
   1    0    0    0    0    0    1    0    0    0    0    0    0    0    1    1    2    3
"""
_GLY = """
  96   30    6    3    1    2    1    2    2    1    2    1    1    2    2    8   43  115
  52   17    5    2    1    1    0    1    2    5    5    2    2    2    5   17   80   95
  45   22   12    8    4    2    3    4    5   11   12    5    3    5    7   37   93   69
  59   42   17    8   22    6    4   12   32   54   34   11    3    6   16   55   87   67
 139   59   16    8    7    8   17   48  116  104   26   15   14    9   17   42   93  152
  66   12    3    3    3   19  431  448  198   26    8    9    7    6   11   51  143  202
   4    2    0    1    3   30  319  161   21    2    0    1    0    1    5   32   32   17
   0    0    0    0    1    7    9    3    0    0    0    0    0    1    1    1    2    1
   0    0    0    1    1    1    0    0    0    0    0    0    0    0    0    0    1    0
   0    0    0    1    1    1    0    0    0    0    0    0    0    1    1    0    0    0
   0    1    4    2    1    0    0    0    1    0    1    5    2    1    0    0    0    0
   6   30   86   18    4    1    0    0    3   17   65   60   11    3    1    1    2    1
  98  103  111   46   14    8    9   14  105  472  393   82   12    4    3    3   13   41
  98   53   22   11   10   14   27  111  613  543  124   21    5    4    7   21  115  116
  57   32   11    5    3    5   16   89  184  111   28    8    3    5    8   21   58   76
  45   24    8    3    2    5    9   24   30   20    7    3    3    3    5   10   26   48
  80   38    7    2    2    2    4    9    6    4    1    1    2    3    2    5   17   52
 109   46    8    3    1    1    4    3    2    1    1    1    1    2    3    5   20   80
"""

PLACEHOLDERS = {"ALA": "A", "GLY": "G"}
"""Residues that a generated backbone may be written with, and their letters."""


class Regions(NamedTuple):
    """The K states of a residue.

    Attributes
    ----------
    centres : numpy.ndarray
        (K, 2) phi, psi in radians.
    log_share : numpy.ndarray
        (K,) log of the share of residues in each.
    """

    centres: np.ndarray
    log_share: np.ndarray


@functools.cache
def regions_of(residue: str) -> Regions:
    """Return the states of ``ALA`` (any residue but Gly and Pro) or ``GLY``."""
    counts = np.array({"ALA": _ALA, "GLY": _GLY}[residue].split(), dtype=float).reshape(360 // CELL, -1)
    phi, psi = np.nonzero(counts >= FEWEST)
    centres = np.radians(np.stack([phi, psi], axis=-1) * CELL + CELL / 2 - 180.0)
    return Regions(centres, np.log(counts[phi, psi] / counts.sum()))
