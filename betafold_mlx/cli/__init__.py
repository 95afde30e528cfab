"""The command line."""

from __future__ import annotations

import sys
import types


def _say_interrupted(
    kind: type[BaseException], error: BaseException, traceback: types.TracebackType | None
) -> None:
    """Tell a Ctrl-C outside `main`, which is while modules are still imported, in one line as well."""
    if issubclass(kind, KeyboardInterrupt):
        print("betafold-mlx: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


sys.excepthook = _say_interrupted
