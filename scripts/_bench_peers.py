"""The peers' side of the sections of ``scripts/bench``: each function imports its peer, which may be missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _bench_measure import (
    BATCHES,
    FEW_PAIRS,
    INFERENCE,
    LENGTHS,
    ONE_BY_ONE,
    PAIRS,
    PEPTIDES,
    RESIDUES,
    STEP,
    Time,
    Times,
    embedding_name,
    measure,
    nerf_name,
    superposition_name,
)


def embed_torch(folder: Path, quick: bool) -> Times:
    """Run the same network of transformers: tokens in, last states out."""
    import torch
    from transformers import EsmConfig, EsmModel

    config = EsmConfig(
        vocab_size=33,
        hidden_size=320,
        num_hidden_layers=6,
        num_attention_heads=20,
        intermediate_size=1280,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=True,
        mask_token_id=32,
        pad_token_id=1,
    )
    network = EsmModel(config, add_pooling_layer=False).eval()
    times = {}
    with torch.inference_mode():
        for length in LENGTHS:
            for batch in BATCHES:
                tokens = torch.randint(4, 24, (batch, length + 2))
                tokens[:, 0], tokens[:, -1] = 0, 2
                mask = torch.ones_like(tokens)
                times[embedding_name(length, batch)] = measure(
                    partial(network, input_ids=tokens, attention_mask=mask), quick
                )
    return times


def head_torch(folder: Path, quick: bool) -> Times:
    """Run and train the folding network in torch, with our weights, on our batch."""
    import torch
    from _bench_torch_head import Network, as_tensors
    from safetensors.numpy import load_file

    from betafold_mlx.model.config import ModelConfig

    arrays = load_file(folder / "head.safetensors")
    network, batch = Network(ModelConfig()), as_tensors(arrays, "batch:")
    network.load(as_tensors(arrays, "weight:"))
    network.eval()
    with torch.inference_mode():
        difference = abs(float(network.loss(batch)) - float(arrays["loss"]))
        if difference > 1e-3:
            raise RuntimeError(f"the network in torch is another one: its loss differs by {difference:.2g}")
        few = [batch[name][:64] for name in ("residues", "mask", "bonded")]
        times = {INFERENCE: measure(lambda: network(few[0].long(), *few[1:]), quick)}
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, weight_decay=0.01)

    def train() -> None:
        optimizer.zero_grad()
        network.loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return times | {STEP: measure(train, quick)}


def nerf_loop(folder: Path, quick: bool) -> Times:
    """Place one atom after another, in NumPy."""
    rng = np.random.default_rng(0)
    torsions = rng.uniform(-np.pi, np.pi, (ONE_BY_ONE, RESIDUES, 3))
    return _one_by_one(lambda row: _chain(torsions[row]), quick)


def _chain(torsions: np.ndarray) -> np.ndarray:
    """Return N, CA, C, O and CB (L, 5, 3) of one peptide (Parsons et al. 2005), with the same geometry everywhere."""
    n, ca, c = np.array([-0.52, 1.36, 0.0]), np.zeros(3), np.array([1.525, 0.0, 0.0])
    residues = []
    for place, (phi, psi, _) in enumerate(torsions):
        if place:
            previous_psi, previous_omega = torsions[place - 1][1:]
            after = _place(n, ca, c, 1.329, 2.042, previous_psi)
            following = _place(ca, c, after, 1.458, 2.124, previous_omega)
            n, ca, c = after, following, _place(c, after, following, 1.525, 1.937, phi)
        residues.append(
            [n, ca, c, _place(n, ca, c, 1.231, 2.108, psi + math.pi), _place(c, n, ca, 1.53, 1.93, 2.145)]
        )
    return np.array(residues)


def _place(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, bond: float, angle: float, torsion: float
) -> np.ndarray:
    bc = c - b
    bc /= np.linalg.norm(bc)
    normal = np.cross(b - a, bc)
    normal /= np.linalg.norm(normal)
    along, across = -bond * math.cos(angle), bond * math.sin(angle)
    return c + along * bc + across * (math.cos(torsion) * np.cross(normal, bc) + math.sin(torsion) * normal)


def nerf_peptidebuilder(folder: Path, quick: bool) -> Times:
    """Run PeptideBuilder, which makes a Biopython structure with side chains."""
    import PeptideBuilder

    rng = np.random.default_rng(0)
    angles = rng.uniform(-180, 180, (ONE_BY_ONE, 3, RESIDUES)).tolist()
    letters = ["".join(row) for row in rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), (ONE_BY_ONE, RESIDUES))]
    return _one_by_one(
        lambda row: PeptideBuilder.make_structure(
            letters[row], angles[row][0], angles[row][1], angles[row][2]
        ),
        quick,
    )


def nerf_jax(folder: Path, quick: bool) -> Times:
    """Run `jax.lax.associative_scan` over residue frames, compiled."""
    import jax
    import jax.numpy as jnp

    def turn(torsion: jax.Array, angle: float) -> jax.Array:
        c, s = jnp.cos(torsion), jnp.sin(torsion)
        k, q = jnp.full_like(c, math.cos(angle)), jnp.full_like(c, math.sin(angle))
        rows = [[-k, -q, 0 * c], [q * c, -k * c, -s], [q * s, -k * s, c]]
        return jnp.stack([jnp.stack(row, -1) for row in rows], -2)

    def compose(
        first: tuple[jax.Array, jax.Array], second: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        return first[0] @ second[0], (first[0] @ second[1][..., None])[..., 0] + first[1]

    @jax.jit
    def build(torsions: jax.Array) -> jax.Array:  # (B, L, 3)
        phi, psi, omega = torsions[..., 0], torsions[..., 1], torsions[..., 2]
        to_n = turn(psi[:, :-1], 2.042)
        to_ca = to_n @ turn(omega[:, :-1], 2.124)
        rotations = to_ca @ turn(phi[:, 1:], 1.937)
        steps = to_n[..., 0] * 1.329 + to_ca[..., 0] * 1.458 + jnp.array([1.525, 0.0, 0.0])
        rotations, ca = jax.lax.associative_scan(compose, (rotations, steps), axis=1)
        batch = len(torsions)
        rotations = jnp.concatenate([jnp.broadcast_to(jnp.eye(3), (batch, 1, 3, 3)), rotations], 1)
        ca = jnp.concatenate([jnp.zeros((batch, 1, 3)), ca], 1)
        fixed = jnp.array([[-0.52, 1.36, 0], [0, 0, 0], [1.525, 0, 0], [-0.53, -0.78, -1.2]])
        oxygen = jnp.stack([jnp.full_like(psi, 2.15), -1.06 * jnp.cos(psi), -1.06 * jnp.sin(psi)], -1)[
            :, :, None
        ]
        local = jnp.concatenate([jnp.broadcast_to(fixed, (*psi.shape, 4, 3)), oxygen], 2)
        return jnp.einsum("blij,blaj->blai", rotations, local) + ca[:, :, None]

    rng = np.random.default_rng(0)
    times = {}
    for batch in PEPTIDES:
        torsions = jnp.asarray(rng.uniform(-np.pi, np.pi, (batch, RESIDUES, 3)).astype(np.float32))
        times[nerf_name(batch)] = measure(partial(_finished, build, torsions), quick)
    return times


def _finished(build: Any, torsions: Any) -> None:
    build(torsions).block_until_ready()


def superpose_biotite(folder: Path, quick: bool) -> Times:
    """Superpose in a loop over pairs."""
    from biotite.structure import rmsd, superimpose

    first, second = _pairs(quick)
    return _loop(folder, lambda a, b: float(rmsd(a, superimpose(a, b)[0])), list(first), list(second))


def superpose_gemmi(folder: Path, quick: bool) -> Times:
    """Superpose in a loop over pairs of lists of positions, which are made beforehand."""
    import gemmi

    first, second = (
        [[gemmi.Position(*p) for p in points] for points in part.tolist()] for part in _pairs(quick)
    )
    return _loop(folder, lambda a, b: gemmi.superpose_positions(a, b).rmsd, first, second)


def _pairs(quick: bool) -> tuple[np.ndarray, np.ndarray]:
    from _bench_ours import random_pairs

    return random_pairs(FEW_PAIRS if quick else PAIRS)


def _loop(folder: Path, one: Callable[[Any, Any], float], first: list[Any], second: list[Any]) -> Times:
    from _bench_ours import SUPERPOSED

    def run() -> list[float]:
        return [one(a, b) for a, b in zip(first, second, strict=True)]

    difference = float(np.abs(run() - np.load(folder / SUPERPOSED)).max())
    if difference > 1e-3:
        raise RuntimeError(f"the RMSD differ by up to {difference:.2g} Angstrom")
    return {superposition_name(len(first)): measure(run, True)}


def _one_by_one(build: Callable[[int], object], quick: bool) -> Times:
    """Time `ONE_BY_ONE` peptides, one at a time, and multiply."""
    count = 8 if quick else ONE_BY_ONE
    times = measure(lambda: [build(row) for row in range(count)], True)
    return {
        nerf_name(batch): [Time(t.wall * batch / count, t.cpu * batch / count) for t in times]
        for batch in PEPTIDES
    }
