"""Examples for openapi.json: builders, and the examples of the failures that many routes share.

All examples tell one story, the demo of `make run`, so their ids fit together.
"""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from drf_spectacular.utils import OpenApiExample
from rest_framework import exceptions

from rivergen.http.exceptions import (
    InvalidToken,
    PayloadTooLarge,
    PreconditionRequired,
    ServiceUnavailable,
)
from rivergen.http.pagination import PAGE_SIZE, page_links
from rivergen.http.parsers import MergePatchParser
from rivergen.http.responses import BUG, error_body, exception_handler

REQUEST_ID = "94099e1647834528878e99eeb6987c36"
JSON = "application/json"
MERGE_PATCH = MergePatchParser.media_type
PAGE_OF_ALL = page_links("", PAGE_SIZE)
NO_TOKEN = (
    "The request has no bearer token. Send the header Authorization: Bearer <access_token>, with a "
    "token of POST /api/v1/auth/token."
)
EXPIRED = (
    "The access token has expired. Exchange the refresh token for a new one at "
    "POST /api/v1/auth/token/refresh."
)
RETRY_AFTER_SECONDS = 30
# The error of a method that is not allowed names those that are.
VIEW = SimpleNamespace(allowed_methods=["GET", "HEAD", "PATCH", "DELETE"])


def body(name: str, value: Any, media_type: str = JSON) -> OpenApiExample:
    """Return the example of a request body."""
    return OpenApiExample(name, value, request_only=True, media_type=media_type)


def answer(
    data: Any, message: str, *, name: str = "Success", status: int = 200, **extra: Any
) -> OpenApiExample:
    """Return the example of a success; `extra` has members beside `data`."""
    value = {"success": True, "data": data, "message": message, **extra}
    return OpenApiExample(name, value, response_only=True, status_codes=[str(status)])


def page(rows: list[Any], message: str) -> OpenApiExample:
    """Return the example of a list that fits on one page."""
    return answer(rows, message, pagination=PAGE_OF_ALL)


def failure(name: str, error: Exception) -> OpenApiExample:
    """Return the example of a failure: the body that this exception leads to."""
    response = exception_handler(error, {"view": VIEW})
    return _of_body(name, response.status_code, response.data)


def described_failure(
    name: str,
    status: int,
    message: str,
    code: str | None = None,
    details: dict[str, list[str]] | None = None,
) -> OpenApiExample:
    """Return the example of a failure that no exception below this floor leads to."""
    return _of_body(name, status, error_body(status, message, details, code))


def _of_body(name: str, status: int, value: dict[str, Any]) -> OpenApiExample:
    value["error"]["request_id"] = REQUEST_ID
    return OpenApiExample(name, value, response_only=True, status_codes=[str(status)])


def of_status(status: int, examples: Iterable[OpenApiExample]) -> list[OpenApiExample]:
    """Return the examples of responses with this status."""
    return [example for example in examples if str(status) in (example.status_codes or ())]


KEYED_EXAMPLES = (
    described_failure(
        "The first request is running",
        409,
        "A request with this Idempotency-Key is still in flight. Try again shortly.",
        code="IDEMPOTENCY_KEY_IN_USE",
    ),
    described_failure(
        "The key was used",
        422,
        "Another request has used this Idempotency-Key; this one changed nothing. Use a new "
        "key for each request, and the same key only to retry it.",
        code="IDEMPOTENCY_KEY_REUSED",
    ),
)
# In the order of the statuses.
FAILURE_EXAMPLES = (
    failure(
        "Invalid fields",
        exceptions.ValidationError(
            {
                "port": ["Ensure this value is less than or equal to 65535."],
                "colour": ["Unknown field."],
            }
        ),
    ),
    failure(
        "Malformed JSON",
        exceptions.ParseError(
            "The body is not valid JSON (Expecting value: line 1 column 10 (char 9))."
        ),
    ),
    failure("No token", exceptions.NotAuthenticated(NO_TOKEN)),
    failure("An expired token", InvalidToken(EXPIRED)),
    failure("The role", exceptions.PermissionDenied("This needs the role admin; yours is editor.")),
    failure(
        "No organization", exceptions.PermissionDenied("You are not a member of any organization.")
    ),
    failure("Not found", exceptions.NotFound()),
    failure("Method not allowed", exceptions.MethodNotAllowed("PUT")),
    failure("Not acceptable", exceptions.NotAcceptable()),
    described_failure("Too slow", 408, "The request did not arrive within 30 seconds."),
    failure("Too large", PayloadTooLarge()),
    failure("Not JSON", exceptions.UnsupportedMediaType("text/plain")),
    failure("No version", PreconditionRequired()),
    failure("Too many requests", exceptions.Throttled(RETRY_AFTER_SECONDS)),
    described_failure("A bug", 500, BUG),
    failure("No database", ServiceUnavailable()),
)
