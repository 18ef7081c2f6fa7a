"""Why a request that connects is refused, and with which status."""

from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException

from rivergen.http.exceptions import Conflict, ServiceUnavailable


class ConnectionFailed(APIException):
    """The new settings do not connect; nothing was saved.

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
    """No worker has taken the test in time."""

    default_detail = "No worker has run the test in time; nothing was saved. Try again shortly."


class ChangedMeanwhile(Conflict):
    """What was tested is not what would be stored."""

    default_detail = "The data source was changed while the update was tested. Try again."


class NoHostKey(Conflict):
    """There is no such host key to confirm."""

    def __init__(self, data_source_id: int, fingerprint: str | None = None) -> None:
        key = f"the host key {fingerprint}" if fingerprint else "a host key"
        super().__init__(
            f"The last test since the last change has not met {key}. Test the connection: "
            f"POST /api/v1/data-sources/{data_source_id}/test."
        )
