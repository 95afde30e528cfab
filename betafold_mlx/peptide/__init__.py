"""What a peptide is: residues, stated bonds, caps, notations and FASTA."""
