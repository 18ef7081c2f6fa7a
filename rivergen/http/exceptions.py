"""Exceptions for statuses that DRF has no class for (contract, section 1)."""

from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException, AuthenticationFailed, NotFound

DATABASE_RETRY_AFTER_SECONDS = 2


class InvalidToken(AuthenticationFailed):
    """The token is expired, revoked, forged, of another kind, or not a token at all (401).

    The message is repeated in the challenge, so it must be ASCII without `"` and backslash.
    """

    @property
    def challenge(self) -> str:
        """The value of `WWW-Authenticate` (RFC 6750, section 3)."""
        return f'Bearer error="invalid_token", error_description="{self.detail}"'


class Conflict(APIException):
    """The state of the resource does not allow the request (409)."""

    status_code = HTTPStatus.CONFLICT
    error_code = "CONFLICT"  # subclasses may have their own codes
    default_detail = "The state of the resource does not allow this."


class NoSuchResource(NotFound):
    """The caller's organizations have no such row; whether others have it is not told (404)."""

    default_detail = "There is no such resource in your organizations."


class PayloadTooLarge(APIException):
    """The body is larger than 1 MiB (413)."""

    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body must not be larger than 1 MiB."


class PreconditionFailed(APIException):
    """A precondition names another version than the current one (412; RFC 9110, section 13).

    `conflict` tells what changed since the version that was named (contract, section 4b).
    """

    status_code = HTTPStatus.PRECONDITION_FAILED

    def __init__(self, sentence: str, etag: str, conflict: Any) -> None:
        super().__init__(sentence)
        self.etag = etag
        self.extra = {"conflict": conflict}


class PreconditionRequired(APIException):
    """The organization or the request requires `If-Match` with a version (428; RFC 6585)."""

    status_code = HTTPStatus.PRECONDITION_REQUIRED
    default_detail = (
        "This request requires If-Match. Send the ETag of the version you read; `*` is not a "
        "version."
    )


class ServiceUnavailable(APIException):
    """The database is unavailable (503)."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_detail = "The service cannot reach its database. Try again shortly."
    wait = DATABASE_RETRY_AFTER_SECONDS
