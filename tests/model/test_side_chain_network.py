"""The side-chain network: what it sees, what it must not depend on, and its file."""

import gemmi
import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten
from rotamer_helpers import made_rotamers

from betafold_mlx.errors import BetafoldError
from betafold_mlx.geometry import build_backbone
from betafold_mlx.model.attention import relative_positions
from betafold_mlx.model.companions import JUDGE, SIDE_CHAINS
from betafold_mlx.model.config import SideChainConfig
from betafold_mlx.model.side_chains import SideChainInputs, SideChainNetwork, surroundings
from betafold_mlx.peptide.sequence import ALPHABET

CONFIG = SideChainConfig(states=12, width=16, edge_width=12, layers=2, neighbours=5)
LENGTHS = [9, 6]
SAMPLES = 3


def make_inputs(lengths=LENGTHS, padded=12, cyclic=False, seed=0) -> SideChainInputs:
    """Make random structures of peptides with ideal geometry."""
    rng = np.random.default_rng(seed)
    batch = len(lengths)
    mask = np.arange(padded) < np.array(lengths)[:, None]
    bonded = np.zeros((batch, padded, padded), bool)
    bonded[:, 1, 5] = bonded[:, 5, 1] = True
    residues = rng.integers(0, ALPHABET.index("P"), (batch, padded)) * mask  # CB of Pro is a little elsewhere
    torsions = mx.array(rng.uniform(-2, 2, (batch * SAMPLES, padded, 3)).astype(np.float32))
    repeated = (mx.array(np.repeat(array, SAMPLES, axis=0)) for array in (residues, mask))
    built = build_backbone(torsions, *repeated)
    return SideChainInputs(
        states=mx.array(rng.normal(size=(batch, padded, CONFIG.states)).astype(np.float32)),
        residues=mx.array(residues),
        mask=mx.array(mask),
        relative=relative_positions(mx.array(lengths), mx.full((batch,), cyclic), padded),
        bonded=mx.array(bonded),
        coordinates=built.reshape(batch, SAMPLES, padded, 5, 3),
    )


def made_network(seed=3) -> SideChainNetwork:
    """Make a network none of whose weights is zero."""
    mx.random.seed(seed)
    network = SideChainNetwork(CONFIG)
    network.rotamers = made_rotamers()
    network.disulfide = mx.random.normal(network.disulfide.shape)
    network.output.weight = mx.random.normal(network.output.weight.shape)
    return network


def close(found, expected, mask, tolerance=2e-3):
    kept = np.broadcast_to(np.array(mask)[:, None], found.shape[:3])
    assert np.allclose(np.exp(np.array(found)[kept]), np.exp(np.array(expected)[kept]), atol=tolerance)


def turned(inputs, matrix):
    moved = inputs.coordinates @ mx.array(matrix.astype(np.float32)) + mx.array([3.0, -7.0, 11.0])
    return inputs._replace(coordinates=moved * inputs.mask[:, None, :, None, None])


def rotation(seed=1) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def test_the_weights_of_the_rotamers_that_there_are_sum_to_one():
    network, inputs = made_network(), make_inputs()
    weights = np.exp(np.array(network(inputs)))
    assert np.allclose(weights.sum(axis=-1), 1, atol=1e-5)
    absent = ~np.array(network.rotamers.valid)[np.array(inputs.residues)]
    assert weights.transpose(1, 0, 2, 3)[:, absent].max() == 0


def test_untrained_it_says_how_frequent_the_rotamers_are():
    mx.random.seed(0)
    network = SideChainNetwork(CONFIG)
    network.rotamers = made_rotamers()
    inputs = make_inputs()
    expected = np.array(network.rotamers.weight)[np.array(inputs.residues)][:, None]
    assert np.allclose(np.exp(np.array(network(inputs))), expected, atol=1e-5)


def test_it_does_not_see_where_a_structure_is_but_it_sees_its_hand():
    network, inputs = made_network(), make_inputs()
    found = network(inputs)
    close(network(turned(inputs, rotation())), found, inputs.mask)
    mirrored = np.exp(np.array(network(turned(inputs, -rotation())))) - np.exp(np.array(found))
    assert np.abs(mirrored).max() > 0.05


def test_padding_and_company_change_nothing():
    network, inputs = made_network(), make_inputs()
    found = network(inputs)
    noise = mx.random.normal(inputs.states.shape) * ~inputs.mask[..., None]
    close(network(inputs._replace(states=inputs.states + noise)), found, inputs.mask)
    alone = SideChainInputs(*(array[1:, :8] for array in inputs[:3]), *(a[1:, :8, :8] for a in inputs[3:5]),
                            inputs.coordinates[1:, 2:, :8])  # fmt: skip
    close(network(alone), found[1:, 2:, :8], alone.mask)


@pytest.mark.parametrize("name", ["states", "residues", "relative", "bonded", "coordinates"])
def test_everything_it_is_shown_counts(name):
    network, inputs = made_network(), make_inputs()
    array = getattr(inputs, name)
    other = ~array if array.dtype == mx.bool_ else mx.roll(array, 1, axis=0)
    if name == "relative":
        other = -array
    changed = np.exp(np.array(network(inputs._replace(**{name: other})))) - np.exp(np.array(network(inputs)))
    assert np.abs(changed).max() > 1e-3


def test_the_neighbours_are_the_nearest_and_are_seen_in_the_frame_of_the_residue():
    inputs = make_inputs()
    seen = surroundings(inputs, CONFIG.neighbours)
    points = np.array(inputs.coordinates, np.float64).reshape(-1, 12, 5, 3)
    for row, length in enumerate(np.repeat(LENGTHS, SAMPLES)):
        cb = points[row, :length, 4]  # ideal, as the places that the network works with
        apart = np.linalg.norm(cb[:, None] - cb[None], axis=-1) + 1e3 * np.eye(length)
        for i in range(length):
            nearest = set(np.argsort(apart[i])[: min(CONFIG.neighbours, length - 1)].tolist())
            index = np.array(seen.nearest[row, i])[np.array(seen.near[row, i]) > 0]
            assert set(index.tolist()) == nearest
            n, ca, c = points[row, i, :3]
            x = (c - ca) / np.linalg.norm(c - ca)
            y = (n - ca) - ((n - ca) @ x) * x
            y /= np.linalg.norm(y)
            frame = np.stack([x, y, np.cross(x, y)], axis=1)
            place = np.array(seen.edges[row, i])[: len(index), :15].reshape(-1, 5, 3) * 8
            if length - 1 >= CONFIG.neighbours:
                assert np.allclose(place, (points[row, index] - cb[i]) @ frame, atol=0.02)


@pytest.mark.parametrize("cyclic", [False, True])
def test_it_sees_the_torsions_of_a_residue_and_its_neighbours(cyclic):
    inputs = make_inputs(cyclic=cyclic)
    seen = np.array(surroundings(inputs, CONFIG.neighbours).torsions)
    points = np.array(inputs.coordinates, np.float64).reshape(-1, 12, 5, 3)

    def angle(*atoms):
        value = gemmi.calculate_dihedral(*(gemmi.Position(*atom) for atom in atoms))
        return [np.cos(value), np.sin(value)]

    for row, length in enumerate(np.repeat(LENGTHS, SAMPLES)):
        own = np.zeros((length, 4))
        for i in range(length):
            n, ca, c = points[row, i, :3]
            if cyclic or i:
                own[i, :2] = angle(points[row, i - 1 if i else length - 1, 2], n, ca, c)
            if cyclic or i < length - 1:
                own[i, 2:] = angle(n, ca, c, points[row, (i + 1) % length, 0])
        before, after = np.roll(own, 1, axis=0), np.roll(own, -1, axis=0)
        if not cyclic:
            before[0] = after[-1] = 0
        assert np.allclose(seen[row, :length], np.concatenate([own, before, after], axis=1), atol=2e-3)


def test_it_comes_back_from_its_file_and_no_other_is_taken(tmp_path):
    network, inputs = made_network(), make_inputs()
    assert SIDE_CHAINS.find(tmp_path, "a" * 64) is None
    SIDE_CHAINS.save(tmp_path, network, "a" * 64)
    again = SIDE_CHAINS.find(tmp_path, "a" * 64)
    assert again.config == CONFIG
    close(again(inputs), network(inputs), inputs.mask, 0.03)  # half precision
    with pytest.raises(BetafoldError, match=r"another folding network.*train-side-chains"):
        SIDE_CHAINS.load(tmp_path, "b" * 64)
    (tmp_path / SIDE_CHAINS.file).rename(tmp_path / JUDGE.file)
    with pytest.raises(BetafoldError, match=r"judge\.safetensors"):
        JUDGE.load(tmp_path, "a" * 64)


def test_the_rotamers_are_not_trained():
    trained = dict(tree_flatten(made_network().trainable_parameters()))
    assert trained and not [name for name in trained if name.startswith("rotamers")]
