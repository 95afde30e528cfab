"""Peptides: residues, stated bonds, caps, notations and FASTA."""
