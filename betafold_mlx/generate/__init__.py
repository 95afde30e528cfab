"""Generating peptide backbones: coarse to fine, by an autoregressive model of C-alpha traces (PAR)."""
