"""Accuracy figures beside the baselines, for this package's models and for structure files of any tool."""
