"""The Transformer lab: small experiments that show how the network works, and why it fails.

Each experiment is a function ``run_NAME(lab)`` that returns a `betafold_mlx.lab.runner.LabReport`. Those that
train are made of variants (settings that differ in one thing), trained with several seeds by `series.py` and
compared by `comparison.py`; `statistics.py` derives intervals and verdicts from the spread over seeds.
"""
