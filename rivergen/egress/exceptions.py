"""Why a host is not connected to. The messages name no address: drivers and logs repeat them."""


class EgressError(Exception):
    """The egress policy gives no address to connect to."""

    message: str

    def __str__(self) -> str:
        return self.message


class EgressDenied(EgressError):
    """The egress policy forbids the host, or one of its addresses."""

    message = "The egress policy does not allow connections to this host."


class HostNotFound(EgressError):
    """The host name does not resolve to an address."""

    message = "The host name cannot be resolved."
