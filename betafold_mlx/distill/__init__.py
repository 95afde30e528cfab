"""Distilled data sets: structures that models predict, to learn from beside experimental ones."""
