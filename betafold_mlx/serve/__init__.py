"""The local web app and its HTTP interface: ``betafold-mlx serve``.

`app.py` is the ASGI application, `guard.py` what every request passes, `requests.py` what may be asked, `worker.py` the
one thread that owns the model, `batches.py` FASTA files in the background, `kept.py` what the page can download,
`atlas.py` the paths of the ESM Atlas, `openapi.py` the description of it all, `server.py` the process. The page is in
`static/`: plain HTML, CSS and JavaScript, without a build step.
"""
