"""``betafold-mlx serve``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import rich_click as click

from betafold_mlx.cli.options import device_option, examples, model_options
from betafold_mlx.cli.progress import say
from betafold_mlx.errors import BetafoldError


@click.command(
    epilog=examples(
        "betafold-mlx serve",
        "betafold-mlx serve --port 9000 --max-samples 100",
        "curl -d GIGKFLHSAKKFGKAFVGEIMNS http://127.0.0.1:8765/foldSequence/v1/pdb/",
    )
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    help="Address to listen on; 0.0.0.0 is all of this machine's.",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, help="Port to listen on; 0 is a free one."
)
@model_options
@click.option(
    "--queue",
    type=click.IntRange(1, 1000),
    default=16,
    help="Maximum number of waiting requests; the next is answered with 503.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 1000),
    default=16,
    help="Maximum number of waiting peptides that are folded together; 1 gives the same bytes under any load.",
)
@click.option(
    "--max-samples", type=click.IntRange(1, 1000), default=20, help="Maximum number of models of a peptide."
)
@click.option(
    "--max-records", type=click.IntRange(1, 10_000), default=1000, help="Maximum number of records a batch."
)
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name under which browsers may reach it, other than localhost; repeatable.",
)
@device_option
def serve(
    host: str,
    port: int,
    model: str | None,
    embedder: Path | None,
    queue: int,
    batch_size: int,
    max_samples: int,
    max_records: int,
    names: tuple[str, ...],
) -> None:
    """Fold in the browser, and over HTTP.

    It listens on this machine alone unless --host says otherwise, and sends nothing anywhere. It prints its address.
    Ctrl-C or SIGTERM ends it when what is being folded is answered. Who can reach the port can use it: there are no
    passwords, and no encryption.
    """
    try:
        from betafold_mlx.serve import server
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("betafold_mlx"):
            raise
        raise BetafoldError(
            f"serve needs {error.name}: install it with pip install 'betafold-mlx[serve]'"
        ) from error
    from betafold_mlx.fold.predictor import Predictor
    from betafold_mlx.serve.app import make_app
    from betafold_mlx.serve.server import ServerLimits
    from betafold_mlx.serve.worker import Worker

    bound = server.listen(host, port)
    worker = Worker(lambda: Predictor.load(model, embedder), queue, batch_size)
    limits = ServerLimits(queue=queue, samples=max_samples, records=max_records)
    app = make_app(worker, limits, [host, *names])
    click.echo(server.address(bound))
    sys.stdout.flush()
    say(f"folding with {worker.predictor.loaded.name}; Ctrl-C ends it")
    running = server.make_server(app)
    # uvicorn raises the signals again when it has ended because of them: then they have had their effect.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    running.run(sockets=[bound])
    if running.force_exit:  # the second Ctrl-C
        raise KeyboardInterrupt
    if app.state.unfinished:
        say(f"FASTA batches that were not finished: {app.state.unfinished}")
    # All is answered, and nothing is left to save. The usual end of Python now and then aborts (SIGABRT, in one of ten
    # runs on a busy machine) where a batch was stopped: MLX tears down a thread of its own while it works.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
