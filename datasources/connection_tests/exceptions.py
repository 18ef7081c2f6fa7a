"""Why a request that connects to a data source is refused, and the status of each."""

from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException

from rivergen.errors import StateConflict
from rivergen.http.exceptions import ServiceUnavailable


class ConnectionFailed(APIException):
    """The new settings do not connect; nothing was saved (422).

    `details` has the `code` of the test, its `stages`, each as a sentence, and its `test_id`.
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


class WorkerUnavailable(ServiceUnavailable):
    """No worker has run the test in time (503)."""

    default_detail = "No worker has run the test in time; nothing was saved. Try again shortly."


class SettingsChanged(StateConflict):
    """The settings that were tested are not those that would be stored (409)."""

    message = "The data source was changed while the update was tested. Try again."
