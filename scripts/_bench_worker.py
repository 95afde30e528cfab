"""One section of ``scripts/bench`` by one library, in a process of its own: prints one JSON document."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

VERSIONS = ("mlx", "numpy", "torch", "transformers", "jax", "jaxlib", "biotite", "gemmi", "PeptideBuilder")


def main(module: str, function: str, folder: str, speed: str) -> None:
    """Measure, and print the times by case; or what is missing."""
    sys.path.insert(0, str(Path(__file__).parent))
    warnings.simplefilter("ignore")  # the peers' own, of many kinds
    try:
        with contextlib.redirect_stdout(sys.stderr):
            times = getattr(importlib.import_module(module), function)(Path(folder), speed == "quick")
    except ModuleNotFoundError as error:
        if module == "_bench_ours":
            raise
        print(json.dumps({"missing": error.name}))
        return
    print(json.dumps({"times": times, "versions": _versions()}))


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        if name.lower() in {key.lower() for key in sys.modules}:
            with contextlib.suppress(PackageNotFoundError):
                found[name] = version(name)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
