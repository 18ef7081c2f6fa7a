"""Why secrets cannot be used; each becomes 409 with its own code."""

from collections.abc import Iterable

from rivergen.errors import StateConflict


class CredentialsUnconfirmed(StateConflict):
    """Secrets are unconfirmed: the destination was changed after they were entered."""

    code = "CREDENTIALS_UNCONFIRMED"

    def __init__(self, fields: Iterable[str]) -> None:
        super().__init__(
            f"The destination was changed. Enter {', '.join(fields)} again, or ask an admin to "
            "confirm the credentials."
        )


class CredentialsUnreadable(StateConflict):
    """Stored secrets cannot be decrypted."""

    code = "CREDENTIALS_UNREADABLE"

    def __init__(self, data_source_id: int, fields: Iterable[str]) -> None:
        super().__init__(
            f"Data source {data_source_id}: {', '.join(fields)} cannot be decrypted. The key is "
            "missing, or the row was changed outside of rivergen. Enter them again."
        )
