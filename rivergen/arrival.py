"""What has arrived of a request, and whether that is all of it (RFC 9112, sections 2, 6 and 7)."""

import re
from typing import Any

from rivergen import settings

LINE_MAX_BYTES = 8190
FIELDS_MAX = 100
HEAD_MAX_BYTES = LINE_MAX_BYTES * (FIELDS_MAX + 1)
# Of a chunked body, sizes and extensions included.
CHUNKS_MAX_BYTES = 2 * settings.REQUEST_BODY_MAX_BYTES

REQUEST_LINE = re.compile(rb"(?:\r\n)?[^\x00-\x20\x7f-\xff]+ [^ \r\n]+ HTTP/1\.[0-9]\r\n")
BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.I)
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;|\Z)")


class Arrival:
    """The bytes of one request, and of what was sent behind it.

    `is_complete` means that there is nothing to wait for: all of it is there, or so much of it that
    it will be refused. Whether it is valid is not found out here, but by gunicorn. `size` is how
    many of the bytes are its own.
    """

    def __init__(self, connection: Any, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.data = bytearray()
        self.is_complete = False
        self.size = 0
        self.is_cut = False
        """More of it may come, which nobody will read."""
        self.is_too_large = False
        """Its body is."""
        self.wants_continue = False
        """The client waits for "100 Continue" before it sends the body (RFC 9110, 10.1.1)."""
        self._body_start = 0
        self._body_length: int | None = 0  # None: it is chunked
        self._chunk_start = 0
        self._chunked_bytes = 0

    def add(self, data: bytes) -> None:
        """Take in what has come."""
        searched = len(self.data)
        self.data += data
        if not self._body_start:
            self._look_for_head(searched)
        if self._body_start and not self.is_complete:
            if self._body_length is None:
                self._look_for_last_chunk()
            elif len(self.data) >= (end := self._body_start + self._body_length):
                self._complete(end)
        if self.is_complete:
            self.wants_continue = False

    def _look_for_head(self, searched: int) -> None:
        end = self.data.find(b"\r\n\r\n", max(searched - 3, 0))
        if end > 0:
            self._body_start = self._chunk_start = end + 4
            self._read_framing(bytes(self.data[: end + 2]))
        elif self.data and self._is_hopeless(searched):
            self._cut()

    def _is_hopeless(self, searched: int) -> bool:
        """Whether the head will be refused, whatever comes: TLS, for instance, has no lines."""
        if not (self.data[:1].isalpha() or self.data[:1] == b"\r"):
            return True
        if BARE_LINE_FEED.search(self.data, max(searched - 1, 0)):
            return True
        if self.data.find(b"\r\n", 2, LINE_MAX_BYTES + 4) < 0:
            return len(self.data) > LINE_MAX_BYTES + 4
        return len(self.data) > HEAD_MAX_BYTES or not REQUEST_LINE.match(self.data)

    def _read_framing(self, head: bytes) -> None:
        """Find out how the body ends."""
        fields = [(name.lower(), value.strip(b" \t")) for name, value in FRAMING.findall(head)]
        framing = [(name, value) for name, value in fields if name != b"expect"]
        self.wants_continue = (b"expect", b"100-continue") in [(n, v.lower()) for n, v in fields]
        if not framing:
            return
        [(name, value), *others] = framing
        if others:
            self._cut()  # two senses of where it ends
        elif name == b"transfer-encoding" and value.lower().endswith(b"chunked"):
            self._body_length = None
        elif name == b"transfer-encoding" or not value.isdigit() or len(value) > 18:
            self._cut()
        else:
            self._body_length = int(value)
            if self._body_length > settings.REQUEST_BODY_MAX_BYTES:
                self._cut_body()

    def _look_for_last_chunk(self) -> None:
        while not self.is_complete:
            start = self._chunk_start
            line_end = self.data.find(b"\r\n", start, start + LINE_MAX_BYTES)
            if line_end < 0:
                if len(self.data) > start + LINE_MAX_BYTES:
                    self._cut()
                break
            size = CHUNK_SIZE.match(self.data[start:line_end])
            if size is None:
                self._cut()
                break
            length = int(size[1], 16)
            if length == 0:
                if (end := self.data.find(b"\r\n\r\n", line_end)) >= 0:
                    self._complete(end + 4)
                break
            if self._chunked_bytes + length > settings.REQUEST_BODY_MAX_BYTES:
                self._cut_body()
            chunk_end = line_end + 2 + length + 2
            if len(self.data) < chunk_end:
                break
            self._chunk_start = chunk_end
            self._chunked_bytes += length
        if not self.is_complete and len(self.data) > self._body_start + CHUNKS_MAX_BYTES:
            self._cut_body()

    def _complete(self, size: int) -> None:
        self.is_complete = True
        self.size = size

    def _cut(self) -> None:
        self._complete(len(self.data))
        self.is_cut = True

    def _cut_body(self) -> None:
        self._cut()
        self.is_too_large = True
