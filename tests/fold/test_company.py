"""A peptide is folded alike alone and in company, with the bundled model and all its parts."""

import numpy as np
import pytest

from betafold_mlx import Predictor
from betafold_mlx.files import to_json
from betafold_mlx.peptide.sequence import Peptide

PEPTIDES = [
    "AKWTGHAKWDL",  # of one padded length: plain chains,
    "WMKHTIWQPRIVYW",
    "RFWWAAMWIFKAFKLF",  # crowded,
    "GCCSDPRCAWRC",  # cysteines without bonds,
    "cyclo(GRC(1)TKSIPPIC(1)FPD)",  # and with;
    "KLVffAEDVGSN",  # residues that the network does not know are a batch of their own
    "Ac-Nle-Asp-His-D-Phe-Arg-Trp-Lys-NH2",
]


@pytest.mark.slow
@pytest.mark.parametrize(("atoms", "samples"), [("backbone", 3), ("all", 1)])
def test_company_changes_no_byte_of_a_backbone_and_hardly_a_side_chain(atoms, samples):
    predictor = Predictor.load()
    peptides = list(map(Peptide.parse, PEPTIDES))
    together = predictor.fold_many(peptides, samples=samples, apart=True, details=True, atoms=atoms)
    for peptide, made in zip(peptides, together, strict=True):
        alone = predictor.fold(peptide, samples=samples, atoms=atoms)
        if atoms == "backbone":
            assert made.text("cif") == alone.text("cif")
            assert to_json(made.to_dict()) == to_json(alone.to_dict())
        else:
            assert np.array_equal(made.plddt, alone.plddt) and made.threaded == alone.threaded
            assert np.nanmax(np.abs(made.atoms - alone.atoms)) < 0.01
