"""Simple fake servers that keep the bytes they receive."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress


class Listener:
    """A server on a free port that calls `answer` for each client in a thread; a context manager.

    `received` has the bytes that `answer` has read by `receive`, in order.
    """

    def __init__(self, answer: Callable[["Listener", socket.socket], None]) -> None:
        self._answer = answer
        self._clients: list[socket.socket] = []
        self.received: list[bytes] = []

    def __enter__(self) -> "Listener":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        # Unlike close(), shutdown() wakes up a thread in `accept` or `recv`.
        for opened in [self._listener, *self._clients]:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def receive(self, client: socket.socket, count: int = 65536) -> bytes:
        """Return what the client sends, and store it in `received`."""
        data = client.recv(count)
        self.received.append(data)
        return data

    def _accept(self) -> None:
        try:
            while True:
                client, _ = self._listener.accept()
                self._clients.append(client)
                threading.Thread(target=self._talk, args=[client], daemon=True).start()
        except OSError:
            return

    def _talk(self, client: socket.socket) -> None:
        try:
            self._answer(self, client)
        except OSError:
            return


def close_at_once(listener: Listener, client: socket.socket) -> None:
    """Close the connection."""
    client.close()


def reset_at_once(listener: Listener, client: socket.socket) -> None:
    """Reset the connection: close() with a linger time of zero sends RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def say_first(words: bytes) -> Callable[[Listener, socket.socket], None]:
    """Return a function that makes a `Listener` send `words`, read a message and close."""

    def answer(listener: Listener, client: socket.socket) -> None:
        client.sendall(words)
        listener.receive(client)
        client.close()

    return answer


def say_garbage(listener: Listener, client: socket.socket) -> None:
    """Answer the first message with bytes of no protocol, and close."""
    listener.receive(client)
    client.sendall(b"no such protocol\r\n" * 50)
    client.shutdown(socket.SHUT_RDWR)


def keep_silent(listener: Listener, client: socket.socket) -> None:
    """Read everything, and send nothing."""
    while listener.receive(client):
        pass
