"""``python -m betafold_mlx``."""

from betafold_mlx.cli.main import main

main()
