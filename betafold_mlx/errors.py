"""`BetafoldError`: the exception for errors that a user can correct."""

from __future__ import annotations


class BetafoldError(Exception):
    """Something the user can act on: one line that says what is wrong and what to do.

    The command line prints the message without a traceback and exits with code 1.
    """
