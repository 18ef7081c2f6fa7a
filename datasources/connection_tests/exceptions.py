"""The errors of requests that test a connection, each with its status."""

from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException

from rivergen.errors import StateConflict
from rivergen.http.exceptions import ServiceUnavailable


class ConnectionFailed(APIException):
    """The new settings do not connect; nothing was saved (422).

    `details` has the `code` and the `test_id` of the test, a sentence for each stage, and what the
    code is about.
    """

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    error_code = "CONNECTION_FAILED"

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(f"Nothing was saved: the new settings do not connect. {result['message']}")
        self.details = {
            "code": [result["code"]],
            "stages": [
                f"{stage['stage']}: {'passed' if stage['ok'] else 'failed'} after "
                f"{stage['milliseconds']} ms"
                for stage in result["stages"]
            ],
            "test_id": [result["test_id"]],
        }
        for name, value in result["details"].items():
            self.details[name] = [*map(str, value if isinstance(value, list) else [value])]


class WorkerUnavailable(ServiceUnavailable):
    """No worker ran the test in time (503)."""

    default_detail = "No worker ran the test in time; nothing was saved. Try again shortly."


class SettingsChanged(StateConflict):
    """The settings that would be stored are not those that were tested (409)."""

    message = "The data source was changed during the test of this update. Try again."
