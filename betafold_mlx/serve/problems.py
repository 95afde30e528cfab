"""What is wrong with a request, in the words and the form that a client gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

FAULT = "this is a fault of betafold-mlx, told where it runs"


class Problem(NamedTuple):
    """What is wrong with one field of a request."""

    field: str
    message: str


class RequestError(Exception):
    """A request that is refused.

    Parameters
    ----------
    status : int
        HTTP status.
    message : str
        One line: what is wrong, and what to do.
    problems : sequence of Problem
        What is wrong with its fields.
    retry_after : int, optional
        Seconds after which it may go better.
    """

    def __init__(
        self, status: int, message: str, problems: Sequence[Problem] = (), retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = tuple(problems)
        self.headers = {} if retry_after is None else {"retry-after": str(retry_after)}

    def document(self) -> dict[str, Any]:
        """Return the JSON document of the answer."""
        fields = [problem._asdict() for problem in self.problems]
        return {"error": {"status": self.status, "message": self.message, "fields": fields}}


def invalid(problems: Sequence[Problem]) -> RequestError:
    """Return the refusal (422) of a request with these problems, of which there is at least one."""
    first = problems[0]
    return RequestError(422, f"{first.field}: {first.message}" if first.field else first.message, problems)
