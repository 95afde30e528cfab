"""Structure files in and out: PDB, mmCIF and backbone JSON lines."""
