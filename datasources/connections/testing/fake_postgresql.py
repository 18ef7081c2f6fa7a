"""A fake PostgreSQL server that asks for passwords and keeps the bytes it receives."""

import hashlib
import socket
import struct
from collections.abc import Callable

from datasources.connections.testing.listeners import Listener

SSL_REQUEST = 80877103
SALT = b"salt"
# Types of AuthenticationRequest.
CLEAR = struct.pack("!I", 3)
GSSAPI = struct.pack("!I", 7)
MD5 = struct.pack("!I", 5) + SALT
SCRAM = struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"


class FakePostgreSQL(Listener):
    """A fake without TLS that sends `request`, and closes when the client has answered."""

    def __init__(self, request: bytes = CLEAR) -> None:
        super().__init__(lambda _, client: self._converse(client))
        self._request = request
        self.answers: list[bytes] = []
        """The answers of clients to the request."""

    @property
    def bytes_received(self) -> bytes:
        """All bytes that were received, of all clients."""
        return b"".join(self.received)

    def _converse(self, client: socket.socket) -> None:
        with client:
            start = self._read(client)
            if struct.unpack_from("!I", start)[0] == SSL_REQUEST:
                client.sendall(b"N")
                self._read(client)
            client.sendall(b"R" + struct.pack("!I", len(self._request) + 4) + self._request)
            assert self._read_exactly(client, 1) == b"p"
            self.answers.append(self._read(client))

    def _read(self, client: socket.socket) -> bytes:
        """Read a message that starts with its length. Raises ConnectionError at the end."""
        (length,) = struct.unpack("!I", self._read_exactly(client, 4))
        return self._read_exactly(client, length - 4)

    def _read_exactly(self, client: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            if not (more := self.receive(client, count - len(data))):
                raise ConnectionResetError
            data += more
        return data


def refuse(
    severity: str, words: str, sqlstate: str = "28000"
) -> Callable[[Listener, socket.socket], None]:
    """Return a function that makes a `Listener` act as a server that refuses every login.

    The server has no TLS. Each refusal has this severity, these words and this SQLSTATE.
    """
    fields = f"S{severity}\0C{sqlstate}\0M{words}\0\0".encode()

    def answer(listener: Listener, client: socket.socket) -> None:
        listener.receive(client)
        client.sendall(b"N")
        listener.receive(client)
        client.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)
        client.close()

    return answer


def md5_answer(username: str, password: str) -> bytes:
    """Return the answer to `MD5` for a password."""
    inner = hashlib.md5((password + username).encode()).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + SALT).hexdigest().encode() + b"\0"
