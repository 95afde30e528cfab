"""Libraries of peptides: FASTA files of any length, folded in parts over `betafold_mlx.executors`."""
