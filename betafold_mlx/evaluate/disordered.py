"""Pieces of proteins that have no fold of their own in solution, to see whether a model says that it does not know.

Such chains are no uniform coils: some hold a helix for part of the time (p53 around residue 22), and many fold on a
partner (the start of alpha-synuclein on membranes). None has one structure of its own that a confident answer could be
right about. Residues are numbered as in the reference, mature chains from 1; modifications are left out.
"""

from __future__ import annotations

from typing import NamedTuple


class DisorderedPiece(NamedTuple):
    """A stretch of a disordered protein.

    Attributes
    ----------
    name : str
        Protein and residues.
    sequence : str
        One-letter codes, 12 to 30 residues.
    source : str
        Where the sequence is from (UniProt accession, or designed), and who found it disordered.
    """

    name: str
    sequence: str
    source: str


_SYNUCLEIN = "P37840; P. H. Weinreb et al., Biochemistry 35, 13709 (1996)"
_TAU = "P10636-8; M. D. Mukrasch et al., PLoS Biol. 7, e34 (2009)"
_P53 = "P04637; H. Lee et al., J. Biol. Chem. 275, 29426 (2000)"
_CASEIN = "P02666; L. K. Creamer et al., Arch. Biochem. Biophys. 211, 689 (1981)"
_SIC1 = "P38634; T. Mittag et al., Proc. Natl. Acad. Sci. USA 105, 17772 (2008)"
_PROTHYMOSIN = "P06454; K. Gast et al., Biochemistry 34, 13211 (1995)"
_FUS = "P35637; K. A. Burke et al., Mol. Cell 60, 231 (2015)"
_HISTONES = "J. C. Hansen et al., J. Biol. Chem. 281, 1853 (2006)"

DISORDERED = (
    DisorderedPiece("alpha-synuclein 1-28", "MDVFMKGLSKAKEGVVAAAEKTKQGVAE", _SYNUCLEIN),
    DisorderedPiece("alpha-synuclein 61-88", "EQVTNVGGAVVTGVTAVAQKTVEGAGSI", _SYNUCLEIN),
    DisorderedPiece("alpha-synuclein 111-140", "GILEDMPVDPDNEAYEMPSEEGYQDYEPEA", _SYNUCLEIN),
    DisorderedPiece("tau 244-273, repeat 1", "QTAPVPMPDLKNVKSKIGSTENLKHQPGGG", _TAU),
    DisorderedPiece("tau 275-304, repeat 2", "VQIINKKLDLSNVQSKCGSKDNIKHVPGGG", _TAU),
    DisorderedPiece("tau 306-335, repeat 3", "VQIVYKPVDLSKVTSKCGSLGNIHHKPGGG", _TAU),
    DisorderedPiece("tau 337-366, repeat 4", "VEVKSEKLDFKDRVQSKIGSLDNITHVPGG", _TAU),
    DisorderedPiece("p53 1-30", "MEEPQSDPSVEPPLSQETFSDLWKLLPENN", _P53),
    DisorderedPiece("p53 31-60", "VLSPLPSQAMDDLMLSPDDIEQWFTEDPGP", _P53),
    DisorderedPiece("beta-casein 60-87", "YPFPGPIPNSLPQNIPPLTQTPVVVPPF", _CASEIN),
    DisorderedPiece("beta-casein 180-209", "YPQRDMPIQAFLLYQEPVLGPVRGPFPIIV", _CASEIN),
    DisorderedPiece("Sic1 1-30", "MTPSTPPRSRGTRYLAQPSGNTSSSALMQG", _SIC1),
    DisorderedPiece("Sic1 31-60", "QKTPQKPSQNLVPVTPSTTKSFKNAPLLAP", _SIC1),
    DisorderedPiece("Sic1 61-90", "PNSNMGMTSPFNGLTSPQRSPFPKSSVKRT", _SIC1),
    DisorderedPiece("prothymosin alpha 30-59", "GRDAPANGNAENEENGEQEADNEVDEEEEE", _PROTHYMOSIN),
    DisorderedPiece("prothymosin alpha 82-111", "EAESATGKRAAEDDEDDDVDTKKQKTDEDD", _PROTHYMOSIN),
    DisorderedPiece("FUS 1-30", "MASNDYTQQATQSYGAYPTQPGQGYSQQSS", _FUS),
    DisorderedPiece("FUS 31-60", "QPYGQQSYSGYSQSTDTSGYGQSSYSSYGQ", _FUS),
    DisorderedPiece("FUS 61-90", "SQNTGYGTQSTPQGYGSTGGYGSSQSSQSS", _FUS),
    DisorderedPiece(
        "ACTR 1018-1042", "GTQNRPLLRNSLDDLVGPPSNLEGQ", "Q9Y6Q9; S. J. Demarest et al., Nature 415, 549 (2002)"
    ),
    DisorderedPiece("histone H3 1-30", "ARTKQTARKSTGGKAPRKQLATKAARKSAP", f"P68431; {_HISTONES}"),
    DisorderedPiece("histone H4 1-25", "SGRGKGGKGLGKGGAKRHRKVLRDN", f"P62805; {_HISTONES}"),
    DisorderedPiece(
        "amyloid beta 1-28",
        "DAEFRHDSGYEVHHQKLVFFAEDVGSNK",
        "P05067; L. Hou et al., J. Am. Chem. Soc. 126, 1992 (2004)",
    ),
    DisorderedPiece(
        "linker (GGGGS)4",
        "GGGGSGGGGSGGGGSGGGGS",
        "designed; M. van Rosmalen et al., Biochemistry 56, 6565 (2017)",
    ),
    DisorderedPiece(
        "linker (GS)8",
        "GSGSGSGSGSGSGSGS",
        "designed; A. Moeglich et al., Proc. Natl. Acad. Sci. USA 103, 12394 (2006)",
    ),
)
"""The set. Sequences are public facts of the databases named; the papers measured them, or the region they lie in, in
solution without a partner."""
