"""What other tools see of a prediction: gemmi, biotite, notebooks."""

import builtins
import sys

import biotite.structure as struc
import biotite.structure.info as ccd
import gemmi
import numpy as np
import pytest
from library_helpers import toy_predictor
from structure_helpers import with_side_chains

from betafold_mlx.errors import BetafoldError
from betafold_mlx.peptide.sequence import THREE_LETTER

ATOMS = ("N", "CA", "C", "O", "CB")


@pytest.fixture(scope="module")
def prediction():
    folded = toy_predictor().fold("GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)], samples=3)
    return with_side_chains(folded)


@pytest.fixture(scope="module")
def capped():
    return toy_predictor().fold("KLAKLAKKLAK", d_amino_acids=True, n_cap="ACE", c_cap="NH2")


def on_the_first(prediction):
    """The models as files have them: superposed on the first."""
    backbone = prediction.coordinates[:, :, :3].reshape(len(prediction.coordinates), -1, 3)
    onto = [struc.superimpose(backbone[0], model)[1] for model in backbone]
    models = zip(onto, prediction.atoms, strict=True)
    return np.stack([move.apply(x.reshape(-1, 3)).reshape(x.shape) for move, x in models])


def test_gemmi_has_every_model_atom_and_confidence(prediction):
    structure = prediction.to_gemmi()
    assert isinstance(structure, gemmi.Structure) and len(structure) == 3
    laid = on_the_first(prediction)
    for rank, model in enumerate(structure):
        for place, residue in enumerate(model["A"]):
            assert residue.seqid.num == residue.label_seq == place + 1
            for atom in residue:
                expected = laid[rank, place, prediction.atom_names[place].index(atom.name)]
                np.testing.assert_allclose(atom.pos.tolist(), expected, atol=1e-3)
                assert atom.b_iso == pytest.approx(prediction.plddt[rank, place], abs=6e-3)
            assert {atom.name for atom in residue} == set(prediction.atom_names[place]) - {""}
    assert gemmi.one_letter_code([r.name for r in structure[0]["A"]]) == prediction.sequence
    made = {bond.kind for bond in prediction.bonds[0] if all(b.formed for m in prediction.bonds for b in m)}
    kinds = {gemmi.ConnectionType.Disulf: "disulfide", gemmi.ConnectionType.Covale: "ring"}
    assert {kinds[c.type] for c in structure.connections} == made == {"ring", "disulfide"}


@pytest.mark.parametrize("model", [1, 3])
def test_biotite_has_the_atoms_and_confidence_of_one_model(prediction, model):
    atoms = prediction.to_biotite(model)
    assert isinstance(atoms, struc.AtomArray)
    laid = on_the_first(prediction)
    for name, column in zip(ATOMS, range(5), strict=True):
        chosen = atoms[atoms.atom_name == name]
        places = chosen.res_id - 1
        np.testing.assert_allclose(chosen.coord, laid[model - 1, places, column], atol=1e-3)
        np.testing.assert_allclose(chosen.b_factor, prediction.plddt[model - 1, places], atol=6e-3)
        assert len(chosen) == len(prediction.sequence) - (
            prediction.sequence.count("G") if name == "CB" else 0
        )
    bonded = [
        {(atoms.res_id[end], atoms.atom_name[end]) for end in pair} for pair in atoms.bonds.as_array()[:, :2]
    ]
    assert {(14, "C"), (1, "N")} in bonded and {(3, "C"), (4, "N")} in bonded


def test_all_heavy_atoms_are_those_of_the_dictionary(prediction):
    atoms = prediction.to_biotite()
    for place, letter in enumerate(prediction.sequence, start=1):
        component = ccd.residue(THREE_LETTER[letter])
        heavy = component.atom_name[component.element != "H"]
        assert atoms.atom_name[atoms.res_id == place].tolist() == [a for a in heavy if a != "OXT"]
    assert prediction.all_atoms and prediction.to_dict()["atoms"] == "all"
    (cysteines,) = (
        {(int(atoms.res_id[i]), str(atoms.atom_name[i])) for i in pair}
        for pair in atoms.bonds.as_array()[:, :2]
        if set(atoms.atom_name[pair]) == {"SG"}
    )
    assert cysteines == {(3, "SG"), (11, "SG")}


@pytest.mark.parametrize("kind", ["cif", "pdb", "json", "html"])
def test_backbone_alone_where_it_is_asked_for(prediction, kind):
    bare = toy_predictor().fold(
        "GRCTKSIPPICFPD", cyclic=True, disulfides=[(3, 11)], samples=3, atoms="backbone"
    )
    assert bare.text(kind) == prediction.backbone_only().text(kind)
    if kind == "json":
        document = bare.to_dict()
        assert document.pop("atoms") == "backbone"
        assert document == {k: v for k, v in prediction.to_dict().items() if k != "atoms"}
    elif kind != "html":
        assert {atom.name for residue in bare.to_gemmi()[0]["A"] for atom in residue} == set(ATOMS)


def test_caps_and_d_residues_are_there_too(capped):
    names = [residue.name for residue in capped.to_gemmi()[0]["A"]]
    assert names[0] == "ACE" and names[-1] == "NH2" and names[1] == "DLY"
    atoms = capped.to_biotite()
    assert list(dict.fromkeys(atoms.res_name)) == list(dict.fromkeys(names))
    assert set(atoms.b_factor[np.isin(atoms.res_name, ["ACE", "NH2"])]) == {0.0}


@pytest.mark.parametrize("model", [0, 4, -1])
def test_a_model_that_is_not_there(prediction, model):
    with pytest.raises(BetafoldError, match=f"no model {model}: the prediction has 1 to 3"):
        prediction.to_biotite(model)


def test_without_biotite_it_says_how_to_get_it(prediction, monkeypatch):
    real = builtins.__import__

    def refuse(name, *arguments):
        if name.startswith("biotite"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in [name for name in sys.modules if name.startswith("biotite")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BetafoldError, match="pip install biotite"):
        prediction.to_biotite()


def test_a_prediction_in_one_line(prediction, capped):
    plddt = prediction.plddt[0].mean()
    assert repr(prediction) == (
        "<Prediction 'GRCTKSIPPICFPD': GRCTKSIPPICFPD cyclic disulfides=3-11, 3 models of toy, "
        f"pLDDT {plddt:.1f}>"
    )
    assert "all-d n-cap=ACE c-cap=NH2, 1 model of toy" in repr(capped)
