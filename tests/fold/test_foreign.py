"""D residues among L ones, AIB and N-methyl residues."""

import mlx.core as mx
import numpy as np
import pytest

from betafold_mlx import Predictor
from betafold_mlx.errors import BetafoldError
from betafold_mlx.fold import closing, ensemble, pipeline
from betafold_mlx.fold.foreign import (
    CONFIDENCE_LOSS,
    hands,
    has_foreign,
    is_mirrored,
    other_hand,
    read_foreign,
)
from betafold_mlx.model.inputs import collate
from betafold_mlx.peptide.bonds import disulfide_bond, ring_bond
from betafold_mlx.peptide.sequence import Peptide

pytestmark = pytest.mark.usefixtures("quick_folds")
USUAL = [
    (module, name, getattr(module, name))
    for module, name in ((ensemble, "BONDED_STEPS"), (ensemble, "ATTEMPTS"), (closing, "ROUNDS"))
]  # before they are made quick

RING = Peptide(("DPN", "PRO", "PHE", "DPN", "ASN", "GLN", "TYR", "VAL", "LYS", "LEU"), bonds=(ring_bond(10),))
BRIDGED = Peptide(("CYS", "DTY", "DLY", "GLY", "DAS", "AIB", "DIL", "DCY"), bonds=(disulfide_bond(1, 8),))
MIXED = Peptide(("TYR", "ARG", "ILE", "DPR", "SER", "TYR", "ASP", "PHE", "DAL", "ASP", "GLU"))
OTHER = {
    **{"PHE": "DPN", "PRO": "DPR", "ASN": "DSG", "GLN": "DGN", "TYR": "DTY", "VAL": "DVA", "LYS": "DLY"},
    **{
        "LEU": "DLE",
        "CYS": "DCY",
        "ASP": "DAS",
        "ILE": "DIL",
        "ARG": "DAR",
        "SER": "DSN",
        "ALA": "DAL",
        "GLU": "DGL",
    },
}


@pytest.fixture(scope="module")
def predictor():
    return Predictor.load(templates=None)


def mirror(peptide):
    """Return the mirror image of a peptide of standard residues, their D forms and AIB."""
    names = OTHER | {d: l_form for l_form, d in OTHER.items()}
    return Peptide(tuple(names.get(code, code) for code in peptide.residues), bonds=peptide.bonds)


def volumes(models):
    n, ca, c, _, cb = np.moveaxis(models.astype(np.float64), 2, 0)
    return (np.cross(n - ca, c - ca) * (cb - ca)).sum(axis=-1)  # (M, L) Angstrom^3


def read(network, peptide):
    inputs = collate([peptide])
    length = inputs.mask.shape[1]

    def ask(sequences):
        return network(inputs._replace(residues=collate([Peptide.of(s) for s in sequences], length).residues))

    return read_foreign(ask, [peptide])


def test_the_hand_of_most_residues_is_that_of_l():
    assert hands(MIXED).tolist() == [1, 1, 1, -1, 1, 1, 1, 1, -1, 1, 1] and not is_mirrored(MIXED)
    assert hands(BRIDGED).tolist() == [-1, 1, 1, 0, 1, 0, 1, 1] and is_mirrored(BRIDGED)
    as_many = Peptide(("GLY", "DAL", "ALA", "AIB"))
    assert is_mirrored(as_many) and not is_mirrored(mirror(as_many))
    assert hands(as_many).tolist() == hands(mirror(as_many)).tolist() == [0, 1, -1, 0]
    whole = Peptide.of("GKFLHA", d_amino_acids=True)
    assert is_mirrored(whole) and not has_foreign(whole) and not has_foreign(Peptide.of("GKFLHA"))
    assert all(map(has_foreign, (MIXED, BRIDGED, RING, as_many, Peptide(("ALA", "MLE", "ALA", "ALA")))))
    assert np.array(other_hand([MIXED, as_many], 16)).sum(axis=1).tolist() == [2, 1]


@pytest.mark.parametrize("peptide", [MIXED, BRIDGED, RING])
def test_every_residue_is_built_with_its_own_hand(predictor, peptide, monkeypatch):
    for module, name, number in USUAL if peptide is BRIDGED else ():
        monkeypatch.setattr(module, name, number)
    prediction = predictor.fold(peptide, samples=2, candidates=2)
    sign = np.where(peptide.d_residues, -1, 1) * volumes(prediction.coordinates)
    here = [code not in ("GLY", "AIB") for code in peptide.residues]
    assert sign[:, here].min() > 2.0
    assert peptide is not BRIDGED or prediction.constraints_met


@pytest.mark.parametrize("peptide", [MIXED, BRIDGED])
def test_the_mirror_image_of_a_peptide_folds_to_the_mirror_image(predictor, peptide):
    one, other, again = (
        predictor.fold(p, samples=2, candidates=2, atoms="backbone")
        for p in (peptide, mirror(peptide), peptide)
    )
    np.testing.assert_array_equal(other.coordinates * np.float32([1, 1, -1]), one.coordinates)
    np.testing.assert_array_equal(other.torsions, -one.torsions)
    np.testing.assert_array_equal(other.plddt, one.plddt)
    np.testing.assert_array_equal(again.coordinates, one.coordinates)


def test_all_atoms_of_a_d_peptide_are_the_mirror_image_of_those_of_the_l_peptide(predictor):
    """One that is crowded and gives way, too."""
    chemistry = {"cyclic": True, "disulfides": [(2, 7)]}
    one, other = (
        predictor.fold("GCWFPWCI", **chemistry, d_amino_acids=hand, samples=2, candidates=2)
        for hand in (False, True)
    )
    np.testing.assert_array_equal(other.atoms * np.float32([1, 1, -1]), one.atoms)
    np.testing.assert_array_equal(other.torsions, -one.torsions)
    assert other.atom_names == one.atom_names and other.bonds == one.bonds
    assert other.side_chain_clashes == one.side_chain_clashes
    assert other.peptide.d_amino_acids and not one.peptide.d_amino_acids


def test_no_fold_depends_on_its_company(predictor):
    peptides = [Peptide.of("YRIPSYDFADE"), MIXED, BRIDGED]
    plain, *mixed = predictor.fold_many(peptides, candidates=2)
    alone = predictor.fold(peptides[0], candidates=2)
    np.testing.assert_array_equal(plain.coordinates, alone.coordinates)
    for together, peptide in zip(mixed, peptides[1:], strict=True):
        # The network's last digits differ with its batch.
        alone = predictor.fold(peptide, candidates=2)
        np.testing.assert_allclose(together.coordinates, alone.coordinates, atol=1e-2)


def test_torsions_of_d_residues_lie_on_both_sides_of_the_plot_and_those_of_l_stay(predictor):
    mixture = read(predictor.loaded.model, MIXED).mixture
    weights = np.exp(np.array(mixture.log_weights[0, : len(MIXED)]))  # (L, 2 K)
    states = weights.shape[1] // 2
    np.testing.assert_array_equal(mixture.centre[states:], -mixture.centre[:states])
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-5)
    mirrored = weights[:, states:].sum(axis=1)
    np.testing.assert_allclose(mirrored[MIXED.d_residues], 0.5, atol=1e-5)
    assert mirrored[~MIXED.d_residues].max() < 1e-6


def test_aib_has_helices_of_either_hand(predictor):
    mixture = read(predictor.loaded.model, Peptide(("GLY", "AIB") * 5)).mixture
    phi, psi = np.degrees(np.array(mixture.centre)).T
    weights = np.exp(np.array(mixture.log_weights[0, 1:10:2]))
    states = len(phi) // 2
    np.testing.assert_allclose(
        weights[:, states:], weights[:, :states], atol=1e-6
    )  # nothing tells the hands apart
    helical = (phi * psi > 0) & (np.abs(phi) < 100) & (np.abs(psi) < 80)
    assert weights[:, helical].sum(axis=1).min() > 0.8
    among_l = read(predictor.loaded.model, Peptide(("LEU", "AIB") * 5)).mixture
    weights = np.exp(np.array(among_l.log_weights[0, 1:10:2]))
    assert weights[:, :states].sum(axis=1).min() > 0.8  # L residues do


def test_a_methyl_at_n_takes_the_helix_from_two_residues(predictor):
    plain = predictor.loaded.model(collate([Peptide.of("AEAALKAALKAA")])).mixture
    methylated = Peptide(("ALA", "GLU", "ALA", "ALA", "MLE", "LYS", *["ALA"] * 2, "LEU", "LYS", "ALA", "ALA"))
    mixture = read(predictor.loaded.model, methylated).mixture
    extended = mx.abs(plain.centre[:, 1]) > np.radians(50)
    before = (mx.exp(plain.log_weights[0, :12]) * extended).sum(axis=-1)
    states = len(extended)
    after = (mx.exp(mixture.log_weights[0, :12, :states]) * extended).sum(axis=-1)
    grown = np.array(after > before + 0.3)
    assert grown.tolist() == [place in (3, 4) for place in range(12)]


def test_foreign_residues_are_named_and_trusted_less(predictor, monkeypatch):
    mixed = predictor.fold(MIXED)
    (warning,) = [line for line in mixed.warnings if "DPR at 4, DAL at 9" in line]
    assert "approximation" in warning and "\n" not in warning
    assert not any("approximation" in line for line in predictor.fold("YRIPSYDFADE").warnings)
    monkeypatch.setattr(pipeline, "CONFIDENCE_LOSS", 0.0)
    np.testing.assert_allclose(predictor.fold(MIXED).plddt - mixed.plddt, CONFIDENCE_LOSS, atol=1e-4)


def test_beta_residues_are_refused(predictor):
    with pytest.raises(BetafoldError, match="BAL at 2: its backbone has one more atom"):
        predictor.fold(Peptide(("ALA", "BAL", "ALA", "ALA")))


def test_files_name_every_residue(predictor):
    structure = predictor.fold(BRIDGED).to_gemmi()
    assert structure.entities[0].full_sequence == list(BRIDGED.residues)
