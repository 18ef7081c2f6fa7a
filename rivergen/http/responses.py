"""The response envelope of the API, for successes and failures (contract, section 1)."""

import logging
import sys
from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from django.core.exceptions import (
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import IntegrityError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.urls import Resolver404, resolve
from django.views import defaults
from psycopg.errors import (
    ForeignKeyViolation,
    IdleInTransactionSessionTimeout,
    LockNotAvailable,
    ReadOnlySqlTransaction,
)
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from rivergen.errors import DomainError, Gone
from rivergen.http.exceptions import (
    Conflict,
    InvalidToken,
    PayloadTooLarge,
    PreconditionFailed,
    ServiceUnavailable,
)
from rivergen.observability.logs import request_id

logger = logging.getLogger("rivergen.errors")

BUG = "Something went wrong on our side."
MALFORMED = "The request is malformed."
UNKNOWN_HOST = "This service does not answer for the host in the Host header. Check the URL."
NO_JSON_ACCEPTED = "The answer is JSON. Send Accept: application/json, or no Accept header."
NOTHING_HERE = "There is nothing at this path."
LOCKED = "Another request is changing this. Try again shortly."
ERROR_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "CONNECTION_FAILED",
    428: "PRECONDITION_REQUIRED",
    429: "TOO_MANY_REQUESTS",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}
# Codes of exceptions that are more specific than the code of the status.
EXACT_CODES = (
    *("CREDENTIALS_UNCONFIRMED", "CREDENTIALS_UNREADABLE"),
    *("IDEMPOTENCY_KEY_IN_USE", "IDEMPOTENCY_KEY_REUSED"),
    "QUOTA_EXCEEDED",
    "NOT_APPLIED",
    *("SCHEMA_NOT_READ", "SNAPSHOT_NOT_FOUND"),
)


class SuccessResponse(Response):
    """The response `{"success": true, "data": …, "message": …}`, with the `ETag` of a version.

    `extra` has further members, beside `data`. `changed_nothing`: the request stored nothing, so
    that the view can answer a retry again.
    """

    def __init__(
        self,
        data: Any,
        message: str,
        status: int = HTTPStatus.OK,
        headers: dict[str, str] | None = None,
        *,
        version: int | None = None,
        changed_nothing: bool = False,
        **extra: Any,
    ) -> None:
        body = {"success": True, "data": data, "message": message, **extra}
        super().__init__(body, status=status, headers=headers)
        self.changed_nothing = changed_nothing
        if version is not None:
            self["ETag"] = f'"{version}"'  # an entity tag is quoted (RFC 9110, section 8.8.3)


class SecretResponse(SuccessResponse):
    """A success that shows a secret once: it is never compressed (rivergen.http.compression)."""


def envelope_schema(schema: Any, **extra: Any) -> dict[str, Any]:
    """Return the JSON Schema of a success: `schema` is that of `data`, `extra` has more members."""
    # Without a type: clients of openapi-generator compare a boolean constant with its text.
    success = {"const": True, "description": "Always true."}
    message = {"type": "string", "description": "One sentence for a person."}
    data = schema | {"description": "What was asked for."}
    words = "A success: what was asked for is in `data`."
    members = {"success": success, "data": data, "message": message, **extra}
    return {
        "type": "object",
        "description": words,
        "properties": members,
        "required": ["success", "data", "message", *extra],
    }


def error_body(
    status: int,
    message: str,
    details: dict[str, list[str]] | None = None,
    code: str | None = None,
) -> Any:
    """Return the body of a failure; `details` maps field names to sentences."""
    return {
        "success": False,
        "error": {
            "code": code or ERROR_CODES.get(status, ERROR_CODES[400 if status < 500 else 500]),
            "message": message,
            "details": details or {},
            "request_id": request_id.get(),
        },
    }


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """Return the response, in the envelope, for any exception that a view raises.

    The members of an exception's `extra` dict are added to `error`. An unknown exception becomes
    500; its traceback is logged and never sent.
    """
    translated = _translate(exc)
    response = drf_exception_handler(translated, context)
    if response is None or not isinstance(translated, exceptions.APIException):
        logger.error("Unexpected error", exc_info=exc)
        response = Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)
        response.data = error_body(500, BUG)
        return _without_log(response)
    if isinstance(translated, exceptions.ValidationError):
        detail: Any = translated.detail
        fields = detail if isinstance(detail, dict) else {}
        # Remove duplicates: a rule may be checked by the field and by the model.
        details = {field: [*dict.fromkeys(_sentences(value))] for field, value in fields.items()}
        message = _summary(details) if details else " ".join(_sentences(detail))
        response.data = error_body(response.status_code, message, details)
    else:
        code = exc.code if isinstance(exc, DomainError) else getattr(translated, "error_code", None)
        sentence = " ".join(_sentences(translated.detail))
        if isinstance(translated, exceptions.MethodNotAllowed) and "view" in context:
            sentence += f" Allowed here: {', '.join(context['view'].allowed_methods)}."
        details = getattr(exc, "details", {})
        response.data = error_body(response.status_code, sentence, details, code)
    response.data["error"] |= getattr(exc, "extra", {})
    if isinstance(translated, InvalidToken):
        response["WWW-Authenticate"] = translated.challenge
    if isinstance(translated, PreconditionFailed):
        response["ETag"] = translated.etag
    return _without_log(response)


def _without_log(response: Response) -> Response:
    """Stop Django from logging each 5xx again, after the request and without its id."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def is_refusal(exc: Exception) -> bool:
    """Return whether a request with this exception is refused (4xx), rather than failed (5xx)."""
    translated = _translate(exc)
    return isinstance(translated, exceptions.APIException) and translated.status_code < 500


def _translate(exc: Exception) -> Exception:
    if isinstance(exc, Http404):
        return exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(exc, DomainError):
        is_gone = isinstance(exc, Gone)
        return exceptions.NotFound(str(exc)) if is_gone else Conflict(str(exc))
    if isinstance(exc, ModelValidationError):
        if hasattr(exc, "error_dict"):
            return exceptions.ValidationError(exc.message_dict)
        return exceptions.ValidationError(exc.messages)
    if isinstance(exc, RequestDataTooBig):
        return PayloadTooLarge()
    if isinstance(exc, SuspiciousOperation):
        return exceptions.ParseError(_what_is_suspicious(exc))
    if isinstance(exc, exceptions.NotAcceptable):
        return exceptions.NotAcceptable(NO_JSON_ACCEPTED)
    if isinstance(exc, IntegrityError) and isinstance(exc.__cause__, ForeignKeyViolation):
        return Conflict("Another request removed a row that this one refers to.")
    if isinstance(exc, UnreadablePostError):
        return exceptions.ParseError("The request body ended too early.")
    if _is_out_of_reach(exc):
        logger.warning("The database is unavailable: %s", type(exc.__cause__ or exc).__name__)
        is_locked = isinstance(exc.__cause__, LockNotAvailable)
        return ServiceUnavailable(LOCKED if is_locked else None)
    return exc


def _what_is_suspicious(exc: Exception) -> str:
    return UNKNOWN_HOST if isinstance(exc, DisallowedHost) else MALFORMED


def _is_out_of_reach(exc: BaseException | None) -> bool:
    """Return whether an exception means that the database is unavailable, so a retry may help."""
    if isinstance(exc, OperationalError | InterfaceError):
        return True
    # Read-only during a failover or with a full disk; or the server ended a transaction that was
    # idle for too long (see `wsgi`).
    causes = ReadOnlySqlTransaction | IdleInTransactionSessionTimeout
    return exc is not None and isinstance(exc.__cause__, causes)


def _sentences(detail: Any) -> list[str]:
    """Return nested error details as one flat list."""
    if isinstance(detail, dict):
        detail = [*detail.values()]
    if isinstance(detail, list):
        return [sentence for item in detail for sentence in _sentences(item)]
    return [str(detail)]


def _summary(fields: Collection[str]) -> str:
    names = ", ".join([field or '""' for field in fields][:5])
    return f"Invalid value for {names}{' and more' if len(fields) > 5 else ''}."


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return 400 for a request that Django refuses before a view runs, as for an unknown host."""
    if not request.path.startswith("/api/"):
        return defaults.bad_request(request, exception)
    return JsonResponse(error_body(400, _what_is_suspicious(exception)), status=400)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return 403 for a request that Django refuses, for instance one without a CSRF token."""
    if not request.path.startswith("/api/"):
        return defaults.permission_denied(request, exception)
    return JsonResponse(error_body(403, "This is not allowed."), status=403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return 404 for a path without a route."""
    if not request.path.startswith("/api/"):
        return defaults.page_not_found(request, exception)
    sentence = NOTHING_HERE
    path = request.path_info.rstrip("/")
    if path != request.path_info and _is_route(path):
        sentence += f" Paths have no trailing slash. Did you mean {path}?"
    return JsonResponse(error_body(404, sentence), status=404)


def _is_route(path: str) -> bool:
    try:
        return bool(resolve(path))
    except Resolver404:
        return False


def server_error(request: HttpRequest) -> HttpResponse:
    """Return 500 for an exception outside of API views, or 503 if the database is unavailable.

    Django has logged the exception, and calls this while handling it.
    """
    if _is_out_of_reach(sys.exception()):
        return unavailable(request)
    if not request.path.startswith("/api/"):
        return defaults.server_error(request)
    return JsonResponse(error_body(500, BUG), status=500)


def unavailable(request: HttpRequest) -> HttpResponse:
    """Return 503: the database is unavailable."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    message, headers = ServiceUnavailable.default_detail, {"Retry-After": ServiceUnavailable.wait}
    if not request.path.startswith("/api/"):
        return HttpResponse(message, status=status, headers=headers, content_type="text/plain")
    return JsonResponse(error_body(status, message), status=status, headers=headers)
