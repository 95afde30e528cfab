"""The local web app and its HTTP interface: ``betafold-mlx serve``, built on FastAPI.

`app.py` has the paths, `documents.py` the JSON of requests and responses, `reading.py` peptides that are read and not
folded, `atlas.py` the paths of the ESM Atlas, `fasta_batches.py` FASTA files in the background, `worker.py` the thread
that owns the model, `security.py` the security middleware, `error_responses.py` the form of errors, `server.py` limits,
socket and HTTP server. The page is in `static/`: plain HTML, CSS and JavaScript, without a build step.
"""
