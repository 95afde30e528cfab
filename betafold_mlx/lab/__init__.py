"""The Transformer lab: small experiments that show how the network works, and why it fails.

Each experiment is a module with a function ``run(lab)``; `experiment.py` says what that is given and returns. Those
that train are made of `variants.py` (settings that differ in one thing), `series.py` (train each with several seeds),
`statistics.py` (what the spread of the seeds allows to say) and `compare.py` (the tables and figures of all of them).
"""
