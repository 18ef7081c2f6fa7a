"""Messages that a child process sends to its parent: JSON objects, one a line."""

import asyncio
import contextlib
import json
import os
from multiprocessing.connection import Connection
from typing import Any, Protocol

MESSAGE_MAX_BYTES = 64 * 1024


class MessageListener(Protocol):
    """Takes the messages of a child, which may stop at any point."""

    seconds: float
    """How long the child may run, counted from the call; a message may change it."""
    seconds_max: float
    is_over: bool
    """Whether the last message has come."""

    def take(self, message: dict[str, Any]) -> None:
        """Store one message. Raises LookupError, TypeError or ValueError if it is malformed."""


class Messages:
    """Reads the messages of a child from a pipe and passes them to a listener.

    Stops at a malformed or oversized message: compromised drivers may write anything.
    """

    def __init__(self, receiver: "Connection[object, object]", listener: MessageListener) -> None:
        self._receiver = receiver
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._line = bytearray()
        self._has_news = asyncio.Event()
        self.is_over = False
        self._loop.add_reader(receiver.fileno(), self._read)

    async def wait(self) -> bool:
        """Wait until the child has written something. Return False if nothing more will come."""
        await self._has_news.wait()
        self._has_news.clear()
        return not self.is_over

    def close(self) -> None:
        """Stop reading and close the pipe."""
        self._loop.remove_reader(self._receiver.fileno())
        self._receiver.close()

    def _read(self) -> None:
        self._has_news.set()
        part = os.read(self._receiver.fileno(), MESSAGE_MAX_BYTES)
        # Append, without a copy of the line so far: the child may write one byte at a time.
        first, *others = part.split(b"\n")
        self._line += first
        lines = []
        for start in others:
            lines.append(self._line)
            self._line = bytearray(start)
        with contextlib.suppress(LookupError, RecursionError, TypeError, ValueError):
            for line in lines:
                self._listener.take(json.loads(line))
            if part and not self._listener.is_over and len(self._line) < MESSAGE_MAX_BYTES:
                return
        # Do not wait for the end of the child: a driver may still join its threads.
        self._loop.remove_reader(self._receiver.fileno())
        self.is_over = True
