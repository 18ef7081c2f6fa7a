"""Why secrets cannot be used; each becomes 409 with a code of its own."""

from collections.abc import Iterable

from rivergen.http.exceptions import Conflict


class CredentialsUnconfirmed(Conflict):
    """Secrets wait for confirmation, because the destination was moved since they were entered."""

    error_code = "CREDENTIALS_UNCONFIRMED"

    def __init__(self, data_source_id: int, fields: Iterable[str]) -> None:
        super().__init__(
            f"The destination was moved. Enter {', '.join(fields)} again, or let an admin confirm: "
            f"POST /api/v1/data-sources/{data_source_id}/credentials/confirm."
        )


class CredentialsUnreadable(Conflict):
    """Secrets cannot be decrypted any more."""

    error_code = "CREDENTIALS_UNREADABLE"

    def __init__(self, data_source_id: int, fields: Iterable[str]) -> None:
        super().__init__(
            f"Of data source {data_source_id} these cannot be decrypted any more, because the key "
            f"is gone or the row was changed by other hands: {', '.join(fields)}. Enter them again."
        )
