"""Where a driver connects to."""

import socket
from dataclasses import dataclass, field

LOOPBACK = "127.0.0.1"


@dataclass
class Endpoint:
    """Where a driver connects to.

    `host` is the name that certificates are checked for; `address`, an IP address, is what the
    egress policy has checked, or this machine's end of a tunnel.
    """

    host: str
    address: str
    port: int
    timeout_seconds: float
    opened: socket.socket | None = field(default=None, repr=False)

    def dial(self) -> socket.socket:
        """Open a TCP connection; the first time, give the one that found out the address.

        Raises OSError.
        """
        if (opened := self.opened) is not None:
            self.opened = None
            return opened
        return socket.create_connection((self.address, self.port), self.timeout_seconds)

    def hang_up(self) -> None:
        """Close the connection that nobody has asked for, for drivers that open their own."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None
