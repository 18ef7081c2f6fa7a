"""The errors of requests with an `Idempotency-Key`, each with its status."""

from http import HTTPStatus

from rest_framework.exceptions import APIException

from rivergen.http.exceptions import Conflict


class KeyInUse(Conflict):
    """The first request with this key is still in flight (409)."""

    error_code = "IDEMPOTENCY_KEY_IN_USE"
    default_detail = "A request with this Idempotency-Key is still in flight. Try again shortly."
    wait = 1


class KeyReused(APIException):
    """The key was used for another request before (422)."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    error_code = "IDEMPOTENCY_KEY_REUSED"
    default_detail = (
        "Another request has used this Idempotency-Key; this one changed nothing. "
        "Use a new key for each request, and the same key only to retry it."
    )
