"""Distilled data sets: predicted structures to train on beside experimental ones."""
