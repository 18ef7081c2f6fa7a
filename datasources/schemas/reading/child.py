"""Read a schema in the sandbox: connect, read the catalogue, send it to the worker."""

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
from datasources.schemas.reading.readers.base import Reader
from datasources.schemas.snapshots.content import TABLES_MAX, Content, pack
from rivergen.egress.policy import EgressPolicy

# A message is a line of at most 64 KiB.
PIECE_BYTES = 32 * 1024
PROGRESS_TABLES = 100

Send = Callable[..., None]


def read_and_send(configuration: Configuration, policy: EgressPolicy, send: Send) -> None:
    """Read a schema and send it in messages: digest and counts, the parts, then the code."""
    try:
        content = read(configuration, policy, send)
    except ConnectionFailure as failure:
        send(code=failure.code, details=failure.details)
        return
    send(
        digest=content.digest,
        table_count=content.table_count,
        column_count=content.column_count,
    )
    for part, data in (("names", content.names), ("row_estimates", content.row_estimates)):
        for piece in pieces(data):
            send(part=part, data=piece)
    for block in content.blocks:
        for number, piece in enumerate(pieces(block)):
            send(part="block" if number else "new block", data=piece)
    send(code=Code.OK, details={})


def read(configuration: Configuration, policy: EgressPolicy, send: Send) -> Content:
    """Return the schema of a source. Raises ConnectionFailure, without the driver's message."""
    with connector_for(configuration, policy, Stages()) as connector:
        connection = connector.connect()
        send(warnings=connector.warnings_found())
        try:
            return read_catalogue(connection, configuration, send)
        except ConnectionFailure:
            raise
        except MemoryError:
            raise ConnectionFailure(Code.SCHEMA_TOO_LARGE) from None
        except Exception as error:
            code = connector.explain_statement(error) or Code.SCHEMA_UNREADABLE
            raise ConnectionFailure(code) from None
        finally:
            connector.close(connection)


def read_catalogue(connection: Any, configuration: Configuration, send: Send) -> Content:
    """Return the schema that is read over an open connection.

    Raises ConnectionFailure if the schema is missing or too large, and the driver's exceptions.
    """
    send(tables_read=0, tables_total=0)
    reader = READERS[configuration.type](connection, configuration)
    try:
        return assemble(reader, send)
    except Exception as error:
        if not reader.can_read_around(error):
            raise
    return assemble(reader, send)


def assemble(reader: Reader, send: Send) -> Content:
    """Return the schema that a reader reads. Raises what `read_catalogue` raises."""
    assembly = Assembly(reader)
    if not assembly.total and not reader.has_schema():
        raise ConnectionFailure(Code.SCHEMA_MISSING)
    if assembly.total > TABLES_MAX:
        raise ConnectionFailure(Code.SCHEMA_TOO_LARGE)
    return pack(tables_with_progress(assembly, send))


def tables_with_progress(assembly: Assembly, send: Send) -> Iterator[tuple[Table, int | None]]:
    """Yield the tables, and send the progress every `PROGRESS_TABLES` tables."""
    for number, table in enumerate(assembly.tables()):
        if number % PROGRESS_TABLES == 0:
            send(tables_read=number, tables_total=assembly.total)
        yield table
    send(tables_read=assembly.total, tables_total=assembly.total)


def pieces(data: bytes) -> Iterator[str]:
    """Yield data in pieces that fit into a message, in Base64."""
    for start in range(0, len(data), PIECE_BYTES):
        yield base64.b64encode(data[start : start + PIECE_BYTES]).decode()
