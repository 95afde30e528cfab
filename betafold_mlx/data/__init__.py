"""Structures -> data set with splits -> evaluation windows and training examples."""
