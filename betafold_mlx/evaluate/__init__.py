"""Accuracy figures beside the baselines, for this package's models and for anybody's structure files."""
