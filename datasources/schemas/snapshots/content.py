"""The tables of a source as they are stored: sorted, in compressed blocks, known by a digest.

A block has `BLOCK_TABLES` tables, the last one maybe fewer; each is a line of JSON. So a page of
tables takes a block or two, and two contents are compared without parsing what is the same.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from datasources.connections.failures import Code, ConnectionFailure
from datasources.schemas.reading.catalogue import Key, Table

BLOCK_TABLES = 100
# A hostile server must fill up neither the memory of the child nor the database, nor the memory of
# those who read it there: they inflate a block at a time, and the names.
TABLES_MAX = 100_000
BLOCKS_MAX = TABLES_MAX // BLOCK_TABLES
BYTES_MAX = 256 * 1024 * 1024
TABLE_BYTES_MAX = 4 * 1024 * 1024
BLOCK_BYTES_MAX = 32 * 1024 * 1024
COMPRESSED_BYTES_MAX = 32 * 1024 * 1024
COMPRESSION_LEVEL = 4


@dataclass
class Content:
    """All that a reading found; names and row estimates are in the order of the tables.

    The digest is of the tables alone: an estimate moves while nothing changes.
    """

    digest: str = ""
    table_count: int = 0
    column_count: int = 0
    names: bytes = b""
    row_estimates: bytes = b""
    blocks: list[bytes] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return sum(map(len, (self.names, self.row_estimates, *self.blocks)))


def pack(tables: Iterable[tuple[Table, int | None]]) -> Content:
    """Put tables, in any order, into a content.

    Raises ConnectionFailure if they are too many or too large.
    """
    content = Content()
    packed: list[tuple[Key, bytes, int | None]] = []
    size = 0
    for table, row_estimate in tables:
        line = dump(table) + b"\n"
        packed.append(((table["schema"], table["name"]), line, row_estimate))
        content.column_count += len(table["columns"])
        size += len(line)
        if size > BYTES_MAX or len(line) > TABLE_BYTES_MAX or len(packed) > TABLES_MAX:
            raise ConnectionFailure(Code.SCHEMA_TOO_LARGE)
    packed.sort(key=lambda one: one[0])
    digest = hashlib.sha256()
    for start in range(0, len(packed), BLOCK_TABLES):
        block = b"".join(line for _, line, _ in packed[start : start + BLOCK_TABLES])
        digest.update(block)
        content.blocks.append(compress(block))
    content.digest = digest.hexdigest()
    content.table_count = len(packed)
    content.names = compress(dump([key for key, _, _ in packed]))
    content.row_estimates = compress(dump([row_estimate for _, _, row_estimate in packed]))
    if content.size > COMPRESSED_BYTES_MAX:
        raise ConnectionFailure(Code.SCHEMA_TOO_LARGE)
    return content


def lines_of(block: bytes) -> list[bytes]:
    """Give the tables of a block, each as JSON."""
    return decompress(block).splitlines()


def read_list(data: bytes) -> list[Any]:
    """Give the names, or the row estimates, of a content."""
    values: list[Any] = json.loads(decompress(data))
    return values


def dump(value: Any) -> bytes:
    """Write JSON in the one way that a digest can rest on; a lone surrogate becomes `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def compress(data: bytes) -> bytes:
    """Compress a part of a content. Raises ConnectionFailure if `decompress` would refuse it."""
    if len(data) > BLOCK_BYTES_MAX:
        raise ConnectionFailure(Code.SCHEMA_TOO_LARGE)
    return zlib.compress(data, COMPRESSION_LEVEL)


def decompress(data: bytes) -> bytes:
    """Undo `compress`, up to a limit: something else may have got hold of the child that did it.

    Raises ValueError if it is more, or was compressed by something else.
    """
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(data, BLOCK_BYTES_MAX)
    if not decompressor.eof:
        raise ValueError("This is no part of a content.")
    return text
