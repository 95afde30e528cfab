"""Known folds: a library of experimental backbones, the search in it, and backbones threaded through its hits."""
