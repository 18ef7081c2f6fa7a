"""Compressed files, expanded in small pieces, up to a total size."""

import bz2
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.formats import (
    SKIPPABLE,
    Format,
    format_of_archive,
    members_of,
)
from datasources.connections.files.storage import StoredFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 256 * 1024
# What a file may expand to: more is taken for a bomb.
EXPANDED_MAX_BYTES = 64 * 1024**3
# What a decompressor may allocate; `xz -9` and `zstd --ultra` need 65 and 128 MiB.
WINDOW_MAX_BYTES = 128 * 1024 * 1024
WINDOW_MAX_LOG = 27
ENCRYPTED_FLAG = 1


class Member(Protocol):
    """A decompressor of one member (gzip), stream (bzip2, xz) or frame (Zstandard)."""

    eof: bool
    unused_data: bytes
    needs_input: bool

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes of what all data so far expands to."""
        ...


class GzipMember:
    """A decompressor of a gzip member, with the interface of those of the other formats."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip

    @property
    def eof(self) -> bool:
        return self._decompressor.eof

    @property
    def unused_data(self) -> bytes:
        return self._decompressor.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._decompressor.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        waiting = self._decompressor.unconsumed_tail
        return self._decompressor.decompress(waiting + data, max_length)


def _zstd_frame() -> Any:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_MAX_LOG}
    return zstd.ZstdDecompressor(options=options)


# How to begin a member, and the bytes that one begins with.
MEMBERS: dict[Format, tuple[Callable[[], Any], tuple[bytes, ...]]] = {
    Format.GZIP: (GzipMember, (b"\x1f\x8b",)),
    Format.BZIP2: (bz2.BZ2Decompressor, (b"BZh",)),
    Format.XZ: (
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW_MAX_BYTES),
        (b"\xfd7zXZ\0",),
    ),
    Format.ZSTD: (_zstd_frame, (b"\x28\xb5\x2f\xfd", *SKIPPABLE)),
}
# UnicodeDecodeError: a name in a ZIP archive.
ERRORS = (zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile, UnicodeDecodeError)


def expanded(file: StoredFile, found: Format) -> Iterator[bytes]:
    """Yield what a compressed file expands to, in pieces of at most `PIECE_BYTES`.

    Raises ConnectionFailure: FILE_TRUNCATED, FILE_MALFORMED, FILE_TOO_LARGE, FILE_ENCRYPTED,
    FILE_OTHER_TYPE (a ZIP archive of several files) or FILE_COMPRESSION.
    """
    pieces = _member_of_zip(file) if found == Format.ZIP else _members(file, found)
    total = 0
    try:
        for piece in pieces:
            total += len(piece)
            if total > EXPANDED_MAX_BYTES:
                raise ConnectionFailure(Code.FILE_TOO_LARGE)
            yield piece
    except EOFError:
        raise ConnectionFailure(Code.FILE_TRUNCATED) from None
    except NotImplementedError:  # of zipfile, such as Deflate64
        raise ConnectionFailure(Code.FILE_COMPRESSION, found=found.value) from None
    except ERRORS as error:
        # lzma and zstd have no type or number for a window beyond the limits above.
        if "memory" in str(error).lower():
            raise ConnectionFailure(Code.FILE_COMPRESSION, found=found.value) from None
        raise ConnectionFailure(Code.FILE_MALFORMED) from None


def chunks_of(file: StoredFile) -> Iterator[bytes]:
    """Yield the bytes of a file, in chunks of at most `CHUNK_BYTES`."""
    for start in range(0, file.size, CHUNK_BYTES):
        yield file.read_at(start, CHUNK_BYTES)


def _members(file: StoredFile, found: Format) -> Iterator[bytes]:
    """Yield what all members of a file expand to. Raises EOFError if the last is cut off.

    What follows the last member and is none is ignored, as gzip(1) does.
    """
    begin, starts = MEMBERS[found]
    member: Member | None = None
    data = b""
    for chunk in chunks_of(file):
        data += chunk
        while member or len(data) >= len(starts[0]):
            if member is None:
                if not data.startswith(starts):
                    return
                member = begin()
            yield from _pieces(member, data)
            if not member.eof:
                data = b""
                break
            data, member = member.unused_data.lstrip(b"\0"), None
    if member is not None:
        raise EOFError


def _pieces(member: Member, data: bytes) -> Iterator[bytes]:
    """Yield what a member expands to, until it ends or needs more data."""
    while True:
        try:
            piece = member.decompress(data, PIECE_BYTES)
        except OSError as error:  # that of bz2, which is not one of the store
            raise zlib.error from error
        if piece:
            yield piece
        data = b""
        if member.eof or member.needs_input:
            return


class _Seekable(io.RawIOBase):
    """A stored file as the file object that `zipfile` reads."""

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        starts = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}
        self._position = max(starts[whence] + offset, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._file.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _member_of_zip(file: StoredFile) -> Iterator[bytes]:
    """Yield what the only file in a ZIP archive expands to."""
    try:
        archive = zipfile.ZipFile(io.BufferedReader(_Seekable(file), CHUNK_BYTES))
    except zipfile.BadZipFile:  # the list of the files is at the end
        raise ConnectionFailure(Code.FILE_TRUNCATED) from None
    members = members_of(archive)
    if len(members) != 1:
        found = format_of_archive([member.filename for member in members])
        raise ConnectionFailure(Code.FILE_OTHER_TYPE, found=found.value)
    if members[0].flag_bits & ENCRYPTED_FLAG:
        raise ConnectionFailure(Code.FILE_ENCRYPTED)
    with archive.open(members[0]) as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece
