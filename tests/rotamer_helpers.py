"""Rotamers without meaning, for tests."""

import numpy as np

from betafold_mlx.model.rotamers import CHI_COUNT, ROTAMERS, Rotamers


def made_rotamers(seed=0) -> Rotamers:
    """Make rotamers of random centres: five of each residue type that has chi angles."""
    rng = np.random.default_rng(seed)
    has = np.arange(4) < CHI_COUNT[:, None]
    centre = rng.uniform(-3, 3, (20, ROTAMERS, 4)) * has[:, None]
    concentration = rng.uniform(5, 60, (20, ROTAMERS, 4)) * has[:, None]
    weight = np.zeros((20, ROTAMERS))
    weight[:, :5] = rng.dirichlet(np.ones(5), 20)
    weight[CHI_COUNT == 0] = np.eye(1, ROTAMERS)
    rotamers = Rotamers()
    rotamers.start_from(centre, concentration, weight)
    return rotamers
