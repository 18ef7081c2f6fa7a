"""Reading the schema of a source, and telling what was read: all of it is done by a child."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

from datasources.connections.attempt import connector_for
from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.stages import Stages
from datasources.schemas.reading.assembly import Assembly
from datasources.schemas.reading.catalogue import Table
from datasources.schemas.reading.readers import READERS
from datasources.schemas.snapshots.content import TABLES_MAX, Content, pack
from rivergen.egress.policy import EgressPolicy

# A message is a line, and a line has a limit.
PIECE_BYTES = 32 * 1024
PROGRESS_TABLES = 100

Tell = Callable[..., None]


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
