"""The address that a driver connects to."""

import socket
from dataclasses import dataclass, field
from ipaddress import ip_address

LOOPBACK = "127.0.0.1"


@dataclass
class Endpoint:
    """The address that a driver connects to.

    Certificates are checked against `host`. `address` is an IP address: the one that the egress
    policy has checked, or loopback for a tunnel.
    """

    host: str
    address: str
    port: int
    timeout_seconds: float
    opened: socket.socket | None = field(default=None, repr=False)
    """A connection that is already open, for the first caller of `dial`."""

    def dial(self) -> socket.socket:
        """Return a TCP connection: the one in `opened` first, then new ones. Raises OSError."""
        if (opened := self.opened) is not None:
            self.opened = None
            return opened
        return socket.create_connection((self.address, self.port), self.timeout_seconds)

    def close_unused(self) -> None:
        """Close the connection in `opened`, for drivers that open their own."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


def is_loopback(host: str) -> bool:
    """Return whether a host is the machine itself, by its usual name or by its address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def host_and_port(host: str, port: int) -> str:
    """Return `host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
