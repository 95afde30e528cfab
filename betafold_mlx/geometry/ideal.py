"""Ideal bond lengths and angles of the peptide backbone.

Source: R. A. Engh and R. Huber, "Structure quality and target parameters", International Tables for
Crystallography (2006) Vol. F, ch. 18.3, section 18.3.2.3, table "Bond lengths (A) and angles (degrees) of
peptide backbone fragments", columns *Peptide (1165)*, *Proline (297)* and *Glycine (83)* (the set known as
EH99, from small molecules of the Cambridge Structural Database; first printed 2001).

The table gives one column per *fragment* and leaves open which of its two residues names the class of a value
across the peptide bond. The choice made here, for the bond from residue i to residue i + 1:

- C-N and C-N-CA: the class of residue i + 1, which carries the N. (Pro has a ring carbon in place of the
  hydrogen.)
- CA-C-N, CA-C-O and O-C-N: the proline column where residue i + 1 is Pro ("pre-Pro"), otherwise the class of
  residue i, which carries the CA and C. The 1991 set says so by its atom types (CH2G-C-NH1 for Gly, CH1E-C-N
  before Pro).

Crystal structures of 1.3 A or better agree on Pro: before Pro the median C-N is longer by 0.005 A and C-N-CA
narrower by 1.6 degrees than elsewhere, while the bond *after* Pro is an ordinary one. For Gly they show no
difference across the bond in either direction (under 0.2 degrees and 0.001 A), so there the choice hardly
matters. Putting the medians of those structures in place of the table leaves the reconstruction floor of real
peptides where it is (mean 0.467 instead of 0.468 A): it comes from the spread of the angles, not their means.

The angles at C sum to 360.0 degrees in the peptide and glycine columns but to 358.4 in the proline column;
the carbonyl is planar here, so before Pro the O-C-N angle is the remainder 122.7, not the tabulated 121.1.
C-N-CA of Pro is the *trans* value; the *cis* one is 127.0.

Every table is a float64 numpy constant indexed by residue id (`betafold_mlx.peptide.sequence.ALPHABET`); lengths in
Angstrom, angles in radians. They are not parameters: nothing here is ever trained.
"""

from __future__ import annotations

import numpy as np

from betafold_mlx.peptide.sequence import ALPHABET

GLY, PRO = ALPHABET.index("G"), ALPHABET.index("P")
"""Residue ids of the two residues whose backbone differs."""


def _per_residue(peptide: float, proline: float, glycine: float) -> np.ndarray:
    table = np.full(len(ALPHABET), peptide)
    table[PRO], table[GLY] = proline, glycine
    return table


N_CA = _per_residue(1.459, 1.468, 1.456)
CA_C = _per_residue(1.525, 1.524, 1.514)
C_O = _per_residue(1.229, 1.228, 1.232)
CA_CB = _per_residue(1.532, 1.531, 1.532)
"""Bond lengths inside residue i. Gly has no CB: its entry is the peptide value, for where Ala has one."""

C_N = _per_residue(1.336, 1.338, 1.326)
"""Bond length from C of residue i - 1 to N of residue i, by residue i."""

N_CA_C = np.radians(_per_residue(111.0, 112.1, 113.1))
N_CA_CB = np.radians(_per_residue(110.6, 103.1, 110.6))
C_CA_CB = np.radians(_per_residue(110.6, 111.8, 110.6))
"""Angles at CA of residue i (CB of Gly as for `CA_CB`)."""

C_N_CA = np.radians(_per_residue(121.7, 119.3, 122.3))
"""Angle at N of residue i, from C of residue i - 1, by residue i."""

CA_C_N = np.radians(np.stack([_per_residue(117.2, 117.2, 116.2), np.full(len(ALPHABET), 117.1)], axis=1))
CA_C_O = np.radians(np.stack([_per_residue(120.1, 120.1, 120.6), np.full(len(ALPHABET), 120.2)], axis=1))
"""Angles at C of residue i: (20, 2), by residue i and by whether residue i + 1 is Pro."""

O_C_N = 2.0 * np.pi - CA_C_N - CA_C_O
"""Remaining angle at the planar C of residue i, same indices."""
