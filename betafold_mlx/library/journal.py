"""What an unfinished run leaves in its folder, so that the same command goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from betafold_mlx.errors import BetafoldError
from betafold_mlx.files import to_json, write_text

STATE_FILE = ".fold.json"  # no peptide's file begins with a dot
_SCHEMA_VERSION = 1

_OTHER = {
    "output": "another --output-format",
    "format": "another --format",
    "report": "another --report",
    "samples": "another --samples",
    "seed": "another --seed",
    "disulfides": "another --disulfide",
    "batch_size": "another --batch-size",
    "device": "another device",
    "model": "another --model",
    "model_sha256": "other weights of the model",
    "embedder": "another --embedder",
    "versions": "other versions of betafold-mlx, MLX or Python",
}


@dataclass(frozen=True)
class Done:
    """How far a run is.

    Attributes
    ----------
    records : int
        Read, and folded or failed.
    sha256 : str
        Their fingerprint (`betafold_mlx.library.records.Reader.sha256`).
    failed : int
        Of them, those that could not be folded or written.
    unmet : int
        Of them, those without a stated bond.
    lengths : dict
        What belongs to them of each output that grows: bytes, or finished parts.
    """

    records: int = 0
    sha256: str = ""
    failed: int = 0
    unmet: int = 0
    lengths: dict[str, int] = field(default_factory=dict)


class Journal:
    """The state of a run beside its output. It is there as long as the run is not finished.

    It outlives a process that is killed at any moment, not a machine that loses power: nothing waits for the disk.

    Parameters
    ----------
    directory : Path
        Where the output goes.
    run : dict
        All that decides what the output will be, but for the input; plain JSON values.
    """

    def __init__(self, directory: Path, run: dict[str, Any]) -> None:
        self.path = directory / STATE_FILE
        self._run = run

    def read(self) -> Done:
        """Return how far the unfinished run in the folder is, or that there is none.

        Raises
        ------
        BetafoldError
            It is a run of something else.
        """
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["schema_version"] != _SCHEMA_VERSION:
                raise KeyError("schema_version")
            run, done = document["run"], Done(**document["done"])
        except FileNotFoundError:
            return Done()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BetafoldError(
                f"cannot read {self.path}, the state of an unfinished run: start anew with --restart"
            ) from error
        for key, now in self._run.items():
            then, words = run.get(key), _OTHER[key]
            if then != now:
                values = "" if isinstance(now, dict) else f" ({then}, now {now})"
                raise BetafoldError(
                    f"{self.path.parent} holds an unfinished run with {words}{values}: give its command again, "
                    "choose another folder (-o), or drop that run with --restart"
                )
        return done

    def write(self, done: Done) -> None:
        """Note how far the run is."""
        write_text(
            self.path, to_json({"schema_version": _SCHEMA_VERSION, "run": self._run, "done": asdict(done)})
        )

    def remove(self) -> None:
        """Note that there is no unfinished run.

        Raises
        ------
        BetafoldError
            Where the file system refuses.
        """
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise BetafoldError(f"cannot remove {self.path}: {error.strerror or error}") from error
