"""The local web app and its HTTP interface: ``betafold-mlx serve``, built on FastAPI.

`app.py` has the paths, `documents.py` the JSON that they take and give, `atlas.py` the paths of the ESM Atlas,
`batches.py` FASTA files in the background, `worker.py` the thread that owns the model, `security.py` the security
middleware, `errors.py` error responses, `limits.py` the server limits, `server.py` the process. The page is in
`static/`: plain HTML, CSS and JavaScript, without a build step.
"""
