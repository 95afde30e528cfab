"""Defaults of a fold, without MLX: the command line reads them."""

CANDIDATES = 5
"""Structures drawn from the network's answer and ranked, beside those threaded through templates."""
