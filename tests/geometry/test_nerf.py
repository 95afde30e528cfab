import gemmi
import mlx.core as mx
import numpy as np
import oracles
import pytest

from betafold_mlx.geometry import backbone_torsions, build_backbone, has_cb, wrap
from betafold_mlx.geometry import ideal as values
from betafold_mlx.geometry.frames import apply, from_three_points
from betafold_mlx.peptide.sequence import ALPHABET, THREE_LETTER, residue_ids

N, CA, C, O, CB = range(5)  # noqa: E741
COUNT, LONGEST = 10_000, 32


def random_peptides(seed, count, length):
    """Return torsions anywhere on the circle and sequences of all residues, as numpy."""
    rng = np.random.default_rng(seed)
    torsions = rng.uniform(-np.pi, np.pi, size=(count, length, 3)).astype(np.float32)
    residues = rng.integers(0, 20, size=(count, length)).astype(np.int32)
    return torsions, residues


def build(torsions, residues, mask=None, d_residues=None):
    mask, d_residues = (None if array is None else mx.array(array) for array in (mask, d_residues))
    return np.array(build_backbone(mx.array(torsions), mx.array(residues), mask, d_residues))


@pytest.fixture(scope="module")
def peptides():
    """10,000 random peptides of 1 to 32 residues: torsions, residues, mask and coordinates."""
    torsions, residues = random_peptides(0, COUNT, LONGEST)
    lengths = np.random.default_rng(1).integers(1, LONGEST + 1, size=COUNT)
    lengths[:200] = np.repeat([1, 2], 100)
    residues[200:300] = values.PRO
    residues[300:400] = values.GLY
    mask = np.arange(LONGEST) < lengths[:, None]
    return torsions, residues, mask, build(torsions, residues, mask)


def bond_lengths(a, b):
    return np.linalg.norm(a.astype(np.float64) - b, axis=-1)


def bond_angles(a, b, c):
    u, v = a.astype(np.float64) - b, c.astype(np.float64) - b
    return np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(axis=-1))


def test_torsions_survive_the_round_trip(peptides):
    torsions, _, mask, coordinates = peptides
    result, defined = backbone_torsions(mx.array(coordinates), mx.array(mask))
    defined = np.array(defined)
    np.testing.assert_array_equal(defined.sum(axis=(0, 1)), mask.sum() - COUNT)  # one each less than residues
    error = np.abs(np.array(wrap(result - mx.array(torsions))))
    assert error[defined].max() <= 1e-4


def test_bonds_and_angles_inside_residues_are_ideal(peptides):
    _, residues, mask, x = peptides
    n, ca, c, _, cb = (x[mask][:, atom] for atom in range(5))
    residue = residues[mask]
    for got, expected in [
        (bond_lengths(n, ca), values.N_CA),
        (bond_lengths(ca, c), values.CA_C),
        (bond_lengths(c, x[mask][:, O]), values.C_O),
        (bond_lengths(ca, cb), values.CA_CB),
        (bond_angles(n, ca, c), values.N_CA_C),
        (bond_angles(n, ca, cb), values.N_CA_CB),
        (bond_angles(c, ca, cb), values.C_CA_CB),
    ]:
        np.testing.assert_allclose(got, expected[residue], atol=1e-4)


def test_bonds_and_angles_between_residues_are_ideal(peptides):
    _, residues, mask, x = peptides
    bonded = mask[:, 1:]
    here, there = x[:, :-1][bonded], x[:, 1:][bonded]
    first, second = residues[:, :-1][bonded], residues[:, 1:][bonded]
    pre_pro = (second == values.PRO).astype(int)
    for got, expected in [
        (bond_lengths(here[:, C], there[:, N]), values.C_N[second]),
        (bond_angles(here[:, C], there[:, N], there[:, CA]), values.C_N_CA[second]),
        (bond_angles(here[:, CA], here[:, C], there[:, N]), values.CA_C_N[first, pre_pro]),
        (bond_angles(here[:, CA], here[:, C], here[:, O]), values.CA_C_O[first, pre_pro]),
        (bond_angles(here[:, O], here[:, C], there[:, N]), values.O_C_N[first, pre_pro]),
    ]:
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_residues_are_of_the_l_form(peptides):
    _, _, mask, x = peptides
    n, ca, c, cb = (x[mask][:, atom].astype(np.float64) for atom in (N, CA, C, CB))
    volume = (np.cross(n - ca, c - ca) * (cb - ca)).sum(axis=-1)
    assert volume.min() > 2.0  # Angstrom^3; negative for D


def test_cb_lies_where_real_structures_have_it(shared_data):
    letters = {three: one for one, three in THREE_LETTER.items() if one != "G"}
    real, residues = [], []
    for path in sorted((shared_data / "structures").iterdir()):
        for chain in gemmi.read_structure(str(path))[0]:
            for residue in chain:
                atoms = [residue.find_atom(name, "*") for name in ("N", "CA", "C", "CB")]
                if residue.name in letters and all(atoms):
                    real.append([atom.pos.tolist() for atom in atoms])
                    residues.append(residue_ids(letters[residue.name]))
    assert len(real) > 300
    n, ca, c, cb = np.array(real).swapaxes(0, 1)
    alone = build(np.zeros((len(real), 1, 3), np.float32), np.array(residues))[:, 0, CB]
    frame = from_three_points(*(mx.array(x.astype(np.float32)) for x in (n, ca, c)))
    placed = np.array(apply(frame, mx.array(alone[:, None])))[:, 0]
    distance = np.linalg.norm(placed - cb, axis=1)  # a D residue's CB lies 2.4 A off
    assert np.median(distance) < 0.1
    assert np.percentile(distance, 99) < 0.5


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 31, 32])
def test_coordinates_are_those_of_the_oracle(length):
    torsions, residues = random_peptides(length, 8, length)
    built = build(torsions, residues)
    for row in range(8):
        sequence = "".join(ALPHABET[i] for i in residues[row])
        np.testing.assert_allclose(built[row], oracles.build_backbone(torsions[row], sequence), atol=1e-4)


def test_every_kind_of_neighbour_is_that_of_the_oracle():
    sequence = "GGPPGPAGAPPAAG"  # all pairs of Gly, Pro and another
    torsions = random_peptides(2, 1, len(sequence))[0]
    built = build(torsions, residue_ids(sequence)[None])
    np.testing.assert_allclose(built[0], oracles.build_backbone(torsions[0], sequence), atol=1e-4)


def test_first_residue_lies_in_the_documented_frame():
    torsions, residues = random_peptides(3, 20, 4)
    first = build(torsions, residues)[:, 0]
    np.testing.assert_allclose(first[:, CA], 0.0, atol=1e-6)
    np.testing.assert_allclose(first[:, C, 1:], 0.0, atol=1e-6)
    assert (first[:, C, 0] > 1).all()
    np.testing.assert_allclose(first[:, N, 2], 0.0, atol=1e-6)
    assert (first[:, N, 1] > 1).all()


def test_end_torsions_move_only_what_they_should():
    torsions, residues = random_peptides(4, 10, 6)
    changed = torsions.copy()
    changed[:, 0, 0] += 1.0  # phi of the first
    changed[:, -1, 2] += 1.0  # omega of the last
    np.testing.assert_array_equal(build(changed, residues), build(torsions, residues))
    changed[:, -1, 1] += 1.0  # psi of the last
    moved = np.abs(build(changed, residues) - build(torsions, residues)).max(axis=(0, 3)) > 1e-3
    assert [tuple(index) for index in np.argwhere(moved)] == [(5, O)]


def test_mirror_image_has_negated_torsions():
    torsions, residues = random_peptides(5, 50, 20)
    mirrored = build(torsions, residues) * np.array([1, 1, -1], dtype=np.float32)
    # The frame of the first residue lies in the mirror plane. CB stays out: residues are L on both sides.
    np.testing.assert_allclose(build(-torsions, residues)[:, :, :CB], mirrored[:, :, :CB], atol=1e-4)
    assert np.abs(build(-torsions, residues)[:, :, CB] - mirrored[:, :, CB]).max() > 1.0


def test_d_residues_carry_their_cb_on_the_other_side_and_change_nothing_else():
    torsions, residues = random_peptides(10, 50, 20)
    d_residues = np.random.default_rng(11).random(residues.shape) < 0.5
    left, mixed = build(torsions, residues), build(torsions, residues, d_residues=d_residues)
    np.testing.assert_array_equal(mixed[:, :, :CB], left[:, :, :CB])
    np.testing.assert_array_equal(mixed[~d_residues], left[~d_residues])
    n, ca, c, cb = (mixed[..., atom, :].astype(np.float64) for atom in (N, CA, C, CB))
    volume = (np.cross(n - ca, c - ca) * (cb - ca)).sum(axis=-1)
    assert volume[d_residues].max() < -2.0 and volume[~d_residues].min() > 2.0  # Angstrom^3
    for got, expected in [
        (bond_lengths(ca, cb), values.CA_CB),
        (bond_angles(n, ca, cb), values.N_CA_CB),
        (bond_angles(c, ca, cb), values.C_CA_CB),
    ]:
        np.testing.assert_allclose(got, expected[residues], atol=1e-4)


def test_mirror_images_of_mixed_chains_have_the_other_hand_everywhere():
    torsions, residues = random_peptides(12, 50, 20)
    d_residues = np.random.default_rng(13).random(residues.shape) < 0.5
    mirrored = build(torsions, residues, d_residues=d_residues) * np.array([1, 1, -1], dtype=np.float32)
    np.testing.assert_allclose(build(-torsions, residues, d_residues=~d_residues), mirrored, atol=1e-4)


def test_whole_turns_change_nothing():
    torsions, residues = random_peptides(6, 20, 12)
    np.testing.assert_allclose(
        build(torsions + np.float32(2 * np.pi), residues), build(torsions, residues), atol=1e-4
    )


def test_padded_rows_are_the_unpadded_ones_and_zero_beyond():
    torsions, residues = random_peptides(7, 6, 16)
    lengths = np.array([1, 2, 5, 9, 15, 16])
    mask = np.arange(16) < lengths[:, None]
    residues[~mask] = values.PRO  # must not turn the last real residue into a pre-Pro
    torsions[~mask] = np.nan
    padded = build(torsions, residues, mask)
    for row, length in enumerate(lengths):
        alone = build(torsions[row : row + 1, :length], residues[row : row + 1, :length])[0]
        np.testing.assert_allclose(padded[row, :length], alone, atol=1e-6)
        assert (padded[row, length:] == 0).all()

    weights = mx.array(np.random.default_rng(0).normal(size=padded.shape).astype(np.float32))
    total = lambda t: (build_backbone(t, mx.array(residues), mx.array(mask)) * weights).sum()  # noqa: E731
    gradient = np.array(mx.grad(total)(mx.array(torsions)))
    assert np.isfinite(gradient).all()
    assert (gradient[~mask] == 0).all()
    assert (gradient[mask][:, 1] != 0).all()  # every psi moves at least an O


@pytest.mark.parametrize("length", [1, 2, 7])
def test_gradient_is_the_central_difference(length):
    torsions, residues = random_peptides(8, 1, length)
    weights = np.random.default_rng(9).normal(size=(length, 5, 3))
    sequence = "".join(ALPHABET[i] for i in residues[0])

    expected = oracles.central_differences(
        lambda t: float((oracles.build_backbone(t, sequence) * weights).sum()), torsions[0]
    )
    weights = mx.array(weights.astype(np.float32))
    gradient = mx.grad(lambda t: (build_backbone(t, mx.array(residues))[0] * weights).sum())(
        mx.array(torsions)
    )
    np.testing.assert_allclose(gradient[0], expected, rtol=1e-4, atol=1e-3)


def test_only_glycine_has_no_cb():
    assert np.array(has_cb(mx.array(residue_ids("AGPG")))).tolist() == [True, False, True, False]
