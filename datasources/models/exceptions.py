"""Conflicts with the state of a data source; each becomes 409."""

from rivergen.errors import StateConflict


class NoHostKey(StateConflict):
    """There is no such host key to confirm: the SSH server has not presented it."""

    def __init__(self, fingerprint: str | None = None) -> None:
        key = f"the host key {fingerprint}" if fingerprint else "a host key"
        super().__init__(
            f"The SSH server has not presented {key} since the destination was last changed. "
            "Test the connection first."
        )


class RestoreImpossible(StateConflict):
    """A version cannot be restored: its values are no longer valid."""
