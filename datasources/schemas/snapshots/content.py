"""The stored form of a schema: its tables, sorted, in compressed blocks, with a digest.

A block has `BLOCK_TABLES` tables (the last block may have fewer), each as a line of JSON. So a page
of tables needs only a block or two, and contents can be compared without parsing equal lines.
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
# Limits against a hostile server, which could fill the memory of the sandbox, the database, and the
# memory of web processes, which decompress the names, and one block at a time.
TABLES_MAX = 100_000
BLOCKS_MAX = TABLES_MAX // BLOCK_TABLES
BYTES_MAX = 256 * 1024 * 1024
TABLE_BYTES_MAX = 4 * 1024 * 1024
BLOCK_BYTES_MAX = 32 * 1024 * 1024
COMPRESSED_BYTES_MAX = 32 * 1024 * 1024
# Between the values of a list, and in the names of tables.
COMMAS_MAX = 20 * TABLES_MAX
COMPRESSION_LEVEL = 4


@dataclass
class Content:
    """The tables of a source; names and row estimates are in the order of the tables.

    The digest leaves out the estimates, which vary while the schema stays the same.
    """

    digest: str = ""
    table_count: int = 0
    column_count: int = 0
    names: bytes = b""
    row_estimates: bytes = b""
    blocks: list[bytes] = field(default_factory=list)

    @property
    def size(self) -> int:
        """The compressed size in bytes."""
        return sum(map(len, (self.names, self.row_estimates, *self.blocks)))


def pack(tables: Iterable[tuple[Table, int | None]]) -> Content:
    """Return the tables, given in any order with their row estimates, as a `Content`.

    Raises ConnectionFailure (SCHEMA_TOO_LARGE) above the limits.
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
    packed.sort(key=lambda row: row[0])
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
    """Return the tables of a compressed block, each as a line of JSON.

    Raises ValueError if there are more than `BLOCK_TABLES`: the sandbox may have sent a block of
    32 million line breaks.
    """
    *lines, rest = decompress(block).split(b"\n", BLOCK_TABLES)
    if rest:
        raise ValueError("A block with too many lines.")
    return lines


def read_list(data: bytes) -> list[Any]:
    """Return a list from compressed JSON: `names` or `row_estimates` of a `Content`.

    Raises ValueError if it may have too many values: the sandbox may have sent 16 million.
    """
    text = decompress(data)
    if text.count(b",") > COMMAS_MAX:
        raise ValueError("A list with too many values.")
    values: list[Any] = json.loads(text)
    return values


def dump(value: Any) -> bytes:
    """Return compact JSON, always the same for the same value; a lone surrogate becomes `?`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def compress(data: bytes) -> bytes:
    """Return compressed data. Raises ConnectionFailure if `decompress` would refuse the result."""
    if len(data) > BLOCK_BYTES_MAX:
        raise ConnectionFailure(Code.SCHEMA_TOO_LARGE)
    return zlib.compress(data, COMPRESSION_LEVEL)


def decompress(data: bytes) -> bytes:
    """Return decompressed data of at most `BLOCK_BYTES_MAX`, else raise ValueError.

    Limited because the sandbox, which compressed it, may have been compromised by a server.
    """
    decompressor = zlib.decompressobj()
    text = decompressor.decompress(data, BLOCK_BYTES_MAX)
    if not decompressor.eof:
        raise ValueError("Not a part of a content, or too large.")
    return text
