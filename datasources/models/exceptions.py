"""Why a data source cannot do what was asked; each becomes 409."""

from rivergen.errors import StateConflict


class NoHostKey(StateConflict):
    """The SSH server has not presented such a host key."""

    def __init__(self, fingerprint: str | None = None) -> None:
        key = f"the host key {fingerprint}" if fingerprint else "a host key"
        super().__init__(f"No test since the last change has met {key}. Test the connection first.")


class RestoreImpossible(StateConflict):
    """The old values are not valid any more."""
