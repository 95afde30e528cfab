"""Mirror images: the reflection of an L peptide is its D peptide."""

from __future__ import annotations

import numpy as np


def mirror_image(coordinates: np.ndarray) -> np.ndarray:
    """Return coordinates (..., 3) reflected in the xy plane: z changes its sign and nothing is rounded.

    Distances and bond angles stay; torsions, and the hand of every centre, change their signs.
    """
    return coordinates * np.array([1.0, 1.0, -1.0], dtype=coordinates.dtype)
