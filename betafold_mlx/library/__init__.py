"""Libraries of peptides: FASTA files of any length, folded in parts over a `concurrent.futures.Executor`."""
