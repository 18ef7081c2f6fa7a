"""A fake SQL Server (MS-TDS)."""

import socket
import struct

from datasources.connections.testing.listeners import Listener

LOGIN, PRELOGIN = 0x10, 0x12
NO_TLS = 2

DONE = b"\xfd" + struct.pack("<HHQ", 0, 0, 0)


def serve_tds(routed_to: tuple[str, int] | None = None):
    """Return a function that makes a `Listener` act as a SQL Server without TLS.

    The server accepts every login, or routes it to the host and port `routed_to`.
    """

    def answer(listener: Listener, client: socket.socket) -> None:
        while header := listener.receive(client, 8):
            kind, _, length = struct.unpack(">BBH", header[:4])
            body = listener.receive(client, length - 8)
            if kind == PRELOGIN:
                tokens = version_and_encryption()
            elif kind == LOGIN:
                tokens = (routing_token(*routed_to) if routed_to else b"") + LOGIN_TOKEN + DONE
            elif "@@VERSION".encode("utf-16-le") in body:
                tokens = row_token("Microsoft SQL Server 2022 (RTM)\n\tof a kind") + DONE
            else:
                tokens = DONE
            client.sendall(struct.pack(">BBHHBB", 4, 1, 8 + len(tokens), 0, 1, 0) + tokens)

    return answer


def version_and_encryption() -> bytes:
    offsets = struct.pack(">BHHBHH", 0, 11, 6, 1, 17, 1) + b"\xff"
    return offsets + b"\x10\x00\x10\x00\x00\x00" + bytes([NO_TLS])


def counted(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("utf-16-le")


def token(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + struct.pack("<H", len(body)) + body


LOGIN_TOKEN = token(
    0xAD, b"\x01\x74\x00\x00\x04" + counted("Microsoft SQL Server") + b"\x10\x00\x00\x00"
)


def routing_token(host: str, port: int) -> bytes:
    value = struct.pack("<BHH", 0, port, len(host)) + host.encode("utf-16-le")
    return token(0xE3, b"\x14" + struct.pack("<H", len(value)) + value + b"\x00\x00")


def row_token(text: str) -> bytes:
    collation = b"\x09\x04\xd0\x00\x34"
    column = b"\0\0\0\0\x09\0\xe7" + struct.pack("<H", 600) + collation + counted("")
    value = text.encode("utf-16-le")
    return b"\x81\x01\0" + column + b"\xd1" + struct.pack("<H", len(value)) + value
