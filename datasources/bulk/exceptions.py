"""The errors of calls about many data sources."""

from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException

from rivergen.http.exceptions import Conflict


class NotApplied(APIException):
    """The update is valid, and was not stored because another one of the call failed (424)."""

    status_code = HTTPStatus.FAILED_DEPENDENCY
    error_code = "NOT_APPLIED"
    default_detail = (
        "The update is valid. It was not stored, because another one of the same request failed."
    )


class SomeFailed(Conflict):
    """Some of many updates failed, so that none was stored (409)."""

    def __init__(self, results: list[dict[str, Any]]) -> None:
        failed = count_failed(results)
        super().__init__(
            f"{failed} of {len(results)} updates failed, so none was stored; see results. "
            "Correct them, or send atomic=false to store those that are valid."
        )
        self.extra = {"results": results}


def count_failed(results: list[dict[str, Any]]) -> int:
    """Return how many updates failed by themselves, not because another one did (424)."""
    blameless = (HTTPStatus.OK, HTTPStatus.FAILED_DEPENDENCY)
    return sum(result["status"] not in blameless for result in results)


class NeedsSavepoints(Exception):
    """An update failed after it had begun to write: the transaction can only be rolled back."""
