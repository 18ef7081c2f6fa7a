"""Fake, mostly malicious MySQL servers that keep the bytes they receive."""

import socket
import ssl
import struct
import threading
from contextlib import suppress

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pymysql.constants import CLIENT, COMMAND

ADDRESS = "127.0.0.1"
HANG_UP_SECONDS = 20
"""How long a fake waits for a silent client before it closes the connection."""
OK = b"\0\0\0\2\0\0\0"
END = b"\xfe\0\0\2\0"
CAPABILITIES = (CLIENT.CAPABILITIES | CLIENT.LOCAL_FILES | CLIENT.CONNECT_WITH_DB) & ~CLIENT.SSL
SALT = b"0123456789abcdefghij"


class Wire:
    """The server's end of a connection, which reads and writes packets."""

    def __init__(self, connection: socket.socket, received: bytearray) -> None:
        self._connection = connection
        self._received = received
        self._next_number = 0

    def read(self) -> bytes:
        """Read a packet. Raises EOFError if the client closes the connection."""
        length_and_number = self._read_exactly(4)
        self._next_number = (length_and_number[3] + 1) % 256
        return self._read_exactly(int.from_bytes(length_and_number[:3], "little"))

    def write(self, payload: bytes) -> None:
        """Send a packet."""
        header = len(payload).to_bytes(3, "little") + bytes([self._next_number])
        self._connection.sendall(header + payload)
        self._next_number = (self._next_number + 1) % 256

    def write_raw(self, data: bytes) -> None:
        """Send bytes without the header of a packet."""
        self._connection.sendall(data)

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Perform the TLS handshake; the following packets are encrypted."""
        self._connection = context.wrap_socket(self._connection, server_side=True)

    def drain(self) -> None:
        """Read everything until the client closes the connection."""
        while data := self._connection.recv(4096):
            self._received += data

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            if not (more := self._connection.recv(size - len(data))):
                raise EOFError
            self._received += more
            data += more
        return data


class FakeMySQL:
    """A fake that accepts every login and answers every query with its version.

    It serves one client. `received` has all bytes of the client once the block has ended.
    """

    plugin = b"mysql_native_password"

    def __init__(self, version: str = "8.0.36", tls: ssl.SSLContext | None = None) -> None:
        self.version = version
        self.tls = tls
        self.received = bytearray()
        self.statements: list[str] = []
        self._listener = socket.create_server((ADDRESS, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> "FakeMySQL":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # wakes up the thread that waits for a client
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.settimeout(HANG_UP_SECONDS)
            wire = Wire(connection, self.received)
            try:
                with suppress(EOFError, OSError):
                    self.converse(wire)
            finally:
                wire.close()

    def converse(self, wire: Wire) -> None:
        """Serve a client: greeting, login, and answers until the client quits."""
        self.greet(wire)
        self.answer_login(wire)
        while (command := wire.read())[0] != COMMAND.COM_QUIT:
            self.statements.append(command[1:].decode())
            self.answer(wire, self.statements[-1])

    def greet(self, wire: Wire) -> None:
        """Send the greeting and read the login, over TLS if there is a certificate."""
        wire.write(self.greeting(offers_tls=self.tls is not None))
        wire.read()
        if self.tls is not None:
            wire.encrypt(self.tls)
            wire.read()

    def greeting(self, *, offers_tls: bool) -> bytes:
        """Return the greeting: version and capabilities."""
        capabilities = CAPABILITIES | (CLIENT.SSL if offers_tls else 0)
        return b"".join(
            [
                b"\x0a" + self.version.encode("latin1", "replace") + b"\0" + struct.pack("<I", 7),
                SALT[:8] + b"\0" + struct.pack("<HBH", capabilities & 0xFFFF, 45, 2),
                struct.pack("<HB", capabilities >> 16, len(SALT) + 1) + bytes(10),
                SALT[8:] + b"\0" + self.plugin + b"\0",
            ]
        )

    def answer_login(self, wire: Wire) -> None:
        """Accept the login."""
        wire.write(OK)

    def answer(self, wire: Wire, statement: str) -> None:
        """Answer a SELECT with the version, any other statement with OK."""
        if not statement.startswith("SELECT"):
            wire.write(OK)
            return
        column = (
            b"\3def\0\0\0\7version\0\x0c" + struct.pack("<HIBHB", 45, 400, 253, 0, 0) + bytes(2)
        )
        version = self.version.encode()
        for packet in (
            b"\1",
            column,
            END,
            b"\xfc" + struct.pack("<H", len(version)) + version,
            END,
        ):
            wire.write(packet)


class FakeFileThief(FakeMySQL):
    """A fake that requests a file of the client, after some regular answers."""

    def __init__(self, path: str, honest_answers: int) -> None:
        super().__init__()
        self.has_asked = False
        self._path = path
        self._honest_answers = honest_answers

    def answer_login(self, wire: Wire) -> None:
        self._ask_in_turn(wire)
        super().answer_login(wire)

    def answer(self, wire: Wire, statement: str) -> None:
        self._ask_in_turn(wire)
        super().answer(wire, statement)

    def _ask_in_turn(self, wire: Wire) -> None:
        """After `honest_answers` answers, request the file, read one packet and close."""
        if self._honest_answers > 0:
            self._honest_answers -= 1
            return
        self.has_asked = True
        wire.write(b"\xfb" + self._path.encode())
        wire.read()
        raise EOFError


class FakePasswordThief(FakeMySQL):
    """A fake that requests the password in clear."""

    def __init__(self, request: bytes, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self._request = request

    def answer_login(self, wire: Wire) -> None:
        wire.write(b"\xfe" + self._request)
        wire.read()
        wire.write(OK)


class FakeKeyThief(FakeMySQL):
    """A fake that presents its own public key, to decrypt the password with.

    The greeting names `plugin`; `can_decrypt` says whether the client has sent the password.
    """

    def __init__(self, plugin: bytes, password: bytes) -> None:
        super().__init__()
        self.plugin = plugin
        self.can_decrypt = False
        self._password = password
        self._key = rsa.generate_private_key(65537, 2048)

    def answer_login(self, wire: Wire) -> None:
        if self.plugin == b"caching_sha2_password":
            wire.write(b"\1\4")  # asks for full authentication
            wire.read()
        key = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        wire.write(b"\1" + key)
        sent = wire.read()
        sha1 = hashes.SHA1()
        padded = padding.OAEP(mgf=padding.MGF1(algorithm=sha1), algorithm=sha1, label=None)
        scrambled = self._key.decrypt(sent, padded)
        clear = bytes(byte ^ SALT[n % len(SALT)] for n, byte in enumerate(scrambled))
        self.can_decrypt = clear == self._password + b"\0"
        wire.write(OK)


class FakeRefusal(FakeMySQL):
    """A fake that refuses every login with an error."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def answer_login(self, wire: Wire) -> None:
        wire.write(b"\xff" + struct.pack("<H", self._number) + b"#HY000The refusal")
        wire.drain()


class FakeWithoutVariables(FakeMySQL):
    """A fake of an old server that has no variable to limit the time of statements."""

    def answer(self, wire: Wire, statement: str) -> None:
        if statement.startswith("SET SESSION"):
            wire.write(b"\xff" + struct.pack("<H", 1193) + b"#HY000Unknown system variable")
        else:
            super().answer(wire, statement)


class FakeSilence(FakeMySQL):
    """A fake that accepts connections and sends nothing."""

    def converse(self, wire: Wire) -> None:
        wire.drain()


class FakeSilenceAtTLS(FakeMySQL):
    """A fake that offers TLS and sends nothing in the handshake."""

    def greet(self, wire: Wire) -> None:
        wire.write(self.greeting(offers_tls=True))
        wire.drain()


class FakeHang(FakeMySQL):
    """A fake that never answers a SELECT."""

    def answer(self, wire: Wire, statement: str) -> None:
        if statement.startswith("SELECT"):
            wire.drain()
        else:
            super().answer(wire, statement)


class FakeWebServer(FakeMySQL):
    """A fake web server."""

    def converse(self, wire: Wire) -> None:
        wire.write_raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        wire.drain()
