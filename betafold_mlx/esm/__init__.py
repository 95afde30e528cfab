"""ESM-2, the protein language model of Lin et al. (Science 379, 1123, 2023), in MLX.

`convert` turns a Hugging Face checkpoint (`hub`) into a directory, `converted.load_esm` loads it, `model.Esm2` runs it.
"""
