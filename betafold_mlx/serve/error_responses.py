"""Error responses: one JSON form for all of them, with a sentence for each field that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from betafold_mlx.errors import BetafoldError

INTERNAL_ERROR = "this is an error in betafold-mlx: the terminal that it runs in shows the details"
_MAX_FIELDS = 10  # problems that are listed: a request may have thousands

_SENTENCES = {
    "missing": "this is missing",
    "extra_forbidden": "there is no such field",
    "string_type": "this must be text",
    "string_unicode": "this must be text, in valid Unicode",
    "string_too_long": "this is longer than {max_length} characters",
    "bool_type": "this must be true or false",
    "int_type": "this must be a whole number",
    "greater_than_equal": "this must be at least {ge}",
    "list_type": "this must be a list",
    "json_invalid": "this is not JSON: {error}",
    "model_attributes_type": "send a JSON object, with the header Content-Type: application/json",
}
"""By the type of a pydantic error; other messages of pydantic can be read as they are."""


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class ErrorDetail(BaseModel):
    """What went wrong."""

    status: int = Field(description="The HTTP status.")
    message: str = Field(description="What is wrong, and what to do.")
    fields: list[FieldError] = Field(description="The fields of the request that are wrong.")


class ErrorDocument(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


def invalid_field(field: str, message: str) -> RequestValidationError:
    """Return the error (422) for a field of the body that is wrong."""
    return RequestValidationError([{"type": "betafold", "loc": ("body", field), "msg": message}])


def error_response(
    status: int,
    message: str,
    fields: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return an error response."""
    document = ErrorDocument(error=ErrorDetail(status=status, message=message, fields=list(fields)))
    return JSONResponse(document.model_dump(), status, headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    fields = [_field_error(each) for each in error.errors()[:_MAX_FIELDS]]
    first = fields[0]
    return error_response(422, f"{first.field}: {first.message}" if first.field else first.message, fields)


def _field_error(error: Mapping[str, Any]) -> FieldError:
    if error["type"] in _SENTENCES:
        sentence = _SENTENCES[error["type"]].format(**error.get("ctx", {}))
    else:
        sentence = error["msg"].replace("Input should be", "this must be")
    name = next((part for part in error["loc"][1:] if isinstance(part, str)), "")
    return FieldError(field=name[:60], message=sentence)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return error_response(error.status_code, error.detail, headers=error.headers)


async def _fold_error(request: Request, error: Exception) -> JSONResponse:
    return error_response(500, str(error))


async def _cut_off(request: Request, error: Exception) -> JSONResponse:
    return error_response(499, "the client has gone")  # nobody reads it


HANDLERS: dict[int | type[Exception], Any] = {
    RequestValidationError: _validation_error,
    HTTPException: _http_error,
    BetafoldError: _fold_error,
    ClientDisconnect: _cut_off,
}
