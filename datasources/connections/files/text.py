"""A text file of any compression and encoding, as the UTF-8 text that DuckDB reads."""

import codecs
import io
import zlib
from collections.abc import Iterator
from datetime import datetime

from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.encodings import UTF_8, decode, encoding_of
from datasources.connections.files.expansion import CHUNK_BYTES, chunks_of, expanded
from datasources.connections.files.formats import (
    COMPRESSIONS,
    EXPANDABLE,
    SIGNATURE_BYTES,
    Format,
    format_of,
)
from datasources.connections.files.storage import StoredFile

# The start of the text, which decides on its encoding and layout. A shorter text is read whole,
# so that nothing about it is a guess from a sample.
HEAD_BYTES = CHUNK_BYTES
END_BYTES = 4 * 1024
BLANK = "\0 \t\r\n\f\v\x1a\xa0\ufeff"


class TextFile:
    """A text file, opened: its start as `head`, and what DuckDB is to read.

    Plain UTF-8 is read by ranges, also by several threads. Everything else is a stream from start
    to end, which DuckDB gets as gzip: that it reads in order, and need not know the size of.
    """

    def __init__(self, file: StoredFile) -> None:
        """Read the start. Raises ConnectionFailure if the file is no text that can be read."""
        self.modified_at: datetime = file.modified_at
        self.failure: ConnectionFailure | None = None
        """Why a stream ended early; DuckDB raises an exception of its own."""
        self._file = file
        self._translates_line_ends = False
        first = file.read_at(0, HEAD_BYTES)
        self._compression = _compression_of(first[:SIGNATURE_BYTES])
        self._cached = self._read_head(first)
        self._encoding = encoding_of(self._cached, self.is_whole)
        self._start = self._encoding.mark_bytes
        self.size = file.size - self._start
        text = self._cached[self._start :]
        self.head = decode(text, self._encoding.name, self.is_whole)
        if self.is_whole and not self.head.strip(BLANK):
            raise ConnectionFailure(Code.FILE_EMPTY)

    @property
    def is_stream(self) -> bool:
        """Whether the file cannot be read by ranges."""
        is_plain = self._encoding.name == UTF_8 and not self._compression
        return not is_plain or self._translates_line_ends

    @property
    def is_encoding_guessed(self) -> bool:
        """Whether nothing but the plausibility of the text says what its encoding is."""
        return self._encoding.is_guess

    def translate_line_ends(self) -> None:
        """Replace all line ends by LF: DuckDB refuses a file that mixes them."""
        self._translates_line_ends = True

    def read_at(self, start: int, count: int) -> bytes:
        """Read a range of a plain file; what was read as its start is not read again."""
        start += self._start
        if start + count <= len(self._cached) or self.is_whole:
            return self._cached[start : start + count]
        return self._file.read_at(start, count)

    def end(self) -> str:
        """Return the last characters, as far as they are known without reading all of a stream."""
        if self.is_whole:
            return self.head[-END_BYTES:].rstrip()
        if self.is_stream:
            return ""
        return self.read_at(self.size - END_BYTES, END_BYTES).decode(UTF_8, "replace").rstrip()

    def pieces(self) -> Iterator[bytes]:
        """Yield the text in UTF-8, in gzip without compression, from the start."""
        gzip = zlib.compressobj(0, wbits=zlib.MAX_WBITS | 16)  # 16: gzip
        try:
            for piece in self._utf_8():
                yield gzip.compress(piece)
        except ConnectionFailure as failure:
            self.failure = failure
            raise
        except UnicodeDecodeError:
            self.failure = ConnectionFailure(Code.FILE_ENCODING)
            raise
        yield gzip.flush()

    def _utf_8(self) -> Iterator[bytes]:
        """Yield the text, decoded and encoded again."""
        decoder = codecs.getincrementaldecoder(self._encoding.name)("strict")
        lines = io.IncrementalNewlineDecoder(decoder, translate=self._translates_line_ends)
        mark = self._start
        for piece in self._expanded():
            yield lines.decode(piece[mark:]).encode()
            mark = max(0, mark - len(piece))
        yield lines.decode(b"", final=True).encode()

    def _expanded(self) -> Iterator[bytes]:
        if self._compression is None:
            return chunks_of(self._file)
        return expanded(self._file, self._compression)

    def _read_head(self, first: bytes) -> bytes:
        """Return the start of the text as bytes; note whether that is the whole text."""
        if self._compression is None:
            self.is_whole = len(first) == self._file.size
            return first
        pieces = bytearray()
        self.is_whole = True
        for piece in self._expanded():
            pieces += piece
            if len(pieces) >= HEAD_BYTES:
                self.is_whole = False
                break
        head = bytes(pieces[:HEAD_BYTES])
        if inner := format_of(head[:SIGNATURE_BYTES], is_text=True):
            raise ConnectionFailure(Code.FILE_OTHER_TYPE, found=inner.value)
        return head


class StreamReader:
    """A file object over the pieces of a text, for DuckDB, which reads a gzip file in order."""

    def __init__(self, text: TextFile) -> None:
        self._text = text
        self._pieces = text.pieces()
        self._buffer = b""
        self._position = 0

    def seek(self, position: int, whence: int = 0) -> int:
        """Move to the start or the current position. Raises OSError for any other position."""
        assert whence == 0
        if position == 0:
            self._pieces, self._buffer, self._position = self._text.pieces(), b"", 0
        elif position != self._position:
            raise OSError("A stream is read in order.")
        return position

    def read(self, count: int) -> bytes:
        """Return the next `count` bytes, or fewer at the end."""
        while len(self._buffer) < count and (piece := next(self._pieces, None)) is not None:
            self._buffer += piece
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        self._position += len(data)
        return data

    def close(self) -> None:
        """Release the decompressor."""
        self._pieces = iter(())


def _compression_of(start: bytes) -> Format | None:
    """Return the compression of a file by its first bytes; None if it has none.

    Raises ConnectionFailure: FILE_COMPRESSION if it cannot be expanded, FILE_OTHER_TYPE.
    """
    found = format_of(start, is_text=True)
    if found is None or found in EXPANDABLE:
        return found
    code = Code.FILE_COMPRESSION if found in COMPRESSIONS else Code.FILE_OTHER_TYPE
    raise ConnectionFailure(code, found=found.value)
