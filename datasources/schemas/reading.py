"""Reading the schema of a source, in a child process, and telling of it."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from typing import Any

from datasources.connections.attempt import connector_for
from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.policy import EgressPolicy
from datasources.connections.stages import Stages
from datasources.schemas.assembly import Assembly
from datasources.schemas.catalogue import Table
from datasources.schemas.content import COMPRESSED_BYTES_MAX, TABLES_MAX, Content, pack
from datasources.schemas.readers import READERS

# For all statements together, once the source is reached; each is bounded by `query_timeout`.
READING_SECONDS_MAX = 900
# A message is a line, and a line has a limit.
PIECE_BYTES = 32 * 1024
PROGRESS_TABLES = 100

Tell = Callable[..., None]


class Reading:
    """What is known so far of a schema that a child reads: how many tables, and in the end all.

    The digest is the child's word: whatever got hold of it can only deceive its own organization.
    """

    is_over = False

    def __init__(self, configuration: Configuration) -> None:
        self.seconds: float = configuration.connection_timeout
        self.seconds_max: float = self.seconds + READING_SECONDS_MAX
        self.code: Code | None = None
        self.tables_read: int | None = None
        self.tables_total: int | None = None
        self.has_moved = asyncio.Event()
        self._content = Content()

    @property
    def content(self) -> Content | None:
        """What was read, if all was."""
        return self._content if self.code == Code.OK else None

    def end(self, is_over: bool) -> None:
        """Say what happened, if the child has not: it died, or its time was over."""
        if self.code is None and is_over:
            self.code = Code.DRIVER_CRASHED
        elif self.code is None:
            self.code = Code.DEADLINE if self.tables_total is None else Code.SCHEMA_DEADLINE

    def take(self, message: dict[str, Any]) -> None:
        """Take note of a message. Raises LookupError, TypeError or ValueError for nonsense."""
        if "code" in message:
            self.code = Code(message["code"])
            self.is_over = True
        elif "tables_total" in message:
            self.seconds = self.seconds_max
            self.tables_read = read_count(message["tables_read"])
            self.tables_total = read_count(message["tables_total"])
            self.has_moved.set()
        elif "digest" in message:
            self._content.digest = str(message["digest"])[:64]
            self._content.table_count = read_count(message["table_count"])
            self._content.column_count = read_count(message["column_count"], 2**31 - 1)
        else:
            self._take_piece(message["part"], base64.b64decode(message["data"], validate=True))

    def _take_piece(self, part: str, piece: bytes) -> None:
        """Add to the names, to the row estimates, to the last block, or to a new one."""
        if self._content.size + len(piece) > COMPRESSED_BYTES_MAX:
            raise ValueError("This is too much.")
        if part == "names":
            self._content.names += piece
        elif part == "row_estimates":
            self._content.row_estimates += piece
        elif part == "new block":
            self._content.blocks.append(piece)
        elif part == "block":
            self._content.blocks[-1] += piece
        else:
            raise ValueError("There is no such part.")


def read_count(told: Any, most: int = TABLES_MAX) -> int:
    """Give a number that a child told. Raises ValueError if it is none, or cannot be."""
    if type(told) is not int or not 0 <= told <= most:
        raise ValueError("This is no count.")
    return told


def read_and_tell(configuration: Configuration, policy: EgressPolicy, tell: Tell) -> None:
    """Be the child."""
    try:
        content = read(configuration, policy, tell)
    except ConnectionFailure as failure:
        tell(code=failure.code)
        return
    tell(
        digest=content.digest,
        table_count=content.table_count,
        column_count=content.column_count,
    )
    for part, data in (("names", content.names), ("row_estimates", content.row_estimates)):
        for piece in pieces(data):
            tell(part=part, data=piece)
    for block in content.blocks:
        for number, piece in enumerate(pieces(block)):
            tell(part="block" if number else "new block", data=piece)
    tell(code=Code.OK)


def read(configuration: Configuration, policy: EgressPolicy, tell: Tell) -> Content:
    """Reach a source and read its schema. Raises ConnectionFailure, without a driver's words."""
    with connector_for(configuration, policy, Stages()) as connector:
        connection = connector.connect()
        try:
            return read_catalogue(connection, configuration, tell)
        except ConnectionFailure:
            raise
        except MemoryError:
            raise ConnectionFailure(Code.SCHEMA_TOO_LARGE) from None
        except Exception:
            raise ConnectionFailure(Code.SCHEMA_UNREADABLE) from None
        finally:
            connector.close(connection)


def read_catalogue(connection: Any, configuration: Configuration, tell: Tell) -> Content:
    """Read all tables. Raises ConnectionFailure if there is no such schema, and what drivers do."""
    tell(tables_read=0, tables_total=0)
    reader = READERS[configuration.type](connection, configuration)
    assembly = Assembly(reader)
    if not assembly.total and not reader.has_schema():
        raise ConnectionFailure(Code.SCHEMA_MISSING)
    if assembly.total > TABLES_MAX:
        raise ConnectionFailure(Code.SCHEMA_TOO_LARGE)
    return pack(counted(assembly, tell))


def counted(assembly: Assembly, tell: Tell) -> Iterator[tuple[Table, int | None]]:
    """Give the tables, and tell now and then how many there were."""
    for number, table in enumerate(assembly.tables()):
        if number % PROGRESS_TABLES == 0:
            tell(tables_read=number, tables_total=assembly.total)
        yield table
    tell(tables_read=assembly.total, tables_total=assembly.total)


def pieces(data: bytes) -> Iterator[str]:
    """Cut data into what goes into a message."""
    for start in range(0, len(data), PIECE_BYTES):
        yield base64.b64encode(data[start : start + PIECE_BYTES]).decode()
