"""The worker's side of reading a schema: start the sandbox, and collect its messages."""

import asyncio
import base64
import contextlib
import dataclasses
from typing import Any

from asgiref.sync import sync_to_async

from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code, Details
from datasources.connections.outcome import read_details, read_warnings
from datasources.connections.sandbox.process import run_in_child
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.reading.child import read_and_send
from datasources.schemas.snapshots.content import (
    BLOCKS_MAX,
    COMPRESSED_BYTES_MAX,
    TABLES_MAX,
    Content,
)
from rivergen.egress.policy import egress_policy

# The limit for all statements together, after connecting; `query_timeout` limits each one.
READING_SECONDS_MAX = 900
PROGRESS_SECONDS = 1


class Reading:
    """Collects what the sandbox sends while it reads a schema: progress, then the content.

    The digest is not verified: contents are shared within an organization only, so a compromised
    sandbox could deceive only the organization of its own data source.
    """

    is_over = False

    def __init__(self, configuration: Configuration) -> None:
        self.seconds: float = configuration.connection_timeout
        self.seconds_max: float = self.seconds + READING_SECONDS_MAX
        self.code: Code | None = None
        self.details: Details = {}
        self.warnings: list[str] = []
        self.tables_read: int | None = None
        self.tables_total: int | None = None
        self.has_moved = asyncio.Event()
        self._content = Content()
        self._size = 0
        # Bytes would be copied for each piece that is appended.
        self._names, self._row_estimates = bytearray(), bytearray()
        self._blocks: list[bytearray] = []

    @property
    def content(self) -> Content | None:
        """The schema that was read, or None if reading failed or has not finished."""
        if self.code != Code.OK:
            return None
        return dataclasses.replace(
            self._content,
            names=bytes(self._names),
            row_estimates=bytes(self._row_estimates),
            blocks=[*map(bytes, self._blocks)],
        )

    def end(self, is_over: bool) -> None:
        """Set a code if the sandbox sent none: it died (`is_over`), or its time was up."""
        if self.code is None and is_over:
            self.code = Code.DRIVER_CRASHED
        elif self.code is None:
            self.code = Code.DEADLINE if self.tables_total is None else Code.SCHEMA_DEADLINE

    def take(self, message: dict[str, Any]) -> None:
        """Store a message. Raises LookupError, TypeError or ValueError if it is malformed."""
        if "code" in message:
            details = read_details(message["details"])
            self.code, self.details = Code(message["code"]), details
            self.is_over = True
        elif "warnings" in message:
            self.warnings = read_warnings(message["warnings"])
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
        """Append a piece to the names, the row estimates, the last block or a new block."""
        self._size += len(piece)
        if self._size > COMPRESSED_BYTES_MAX:
            raise ValueError("The content is too large.")
        if part == "names":
            self._names += piece
        elif part == "row_estimates":
            self._row_estimates += piece
        elif part == "new block":
            # Limit the number of blocks, because empty blocks take memory, too.
            if len(self._blocks) == BLOCKS_MAX:
                raise ValueError("There are too many blocks.")
            self._blocks.append(bytearray(piece))
        elif part == "block":
            self._blocks[-1] += piece
        else:
            raise ValueError("There is no such part.")


async def read_in_child(configuration: Configuration, refresh: SchemaRefresh) -> Reading:
    """Read a schema in the sandbox, while storing the progress of the refresh."""
    policy = await sync_to_async(egress_policy)()
    reading = Reading(configuration)
    progress = asyncio.create_task(show_progress(reading, refresh))
    try:
        reading.end(await run_in_child(read_and_send, configuration, policy, reading))
    finally:
        progress.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await progress
    return reading


async def show_progress(reading: Reading, refresh: SchemaRefresh) -> None:
    """Store the progress of a reading whenever it moves, at most once a second."""
    while True:
        await reading.has_moved.wait()
        reading.has_moved.clear()
        await sync_to_async(refresh.advance)(reading.tables_read, reading.tables_total)
        await asyncio.sleep(PROGRESS_SECONDS)


def read_count(value: Any, maximum: int = TABLES_MAX) -> int:
    """Return a count sent by the sandbox. Raises ValueError unless it is 0 to `maximum`."""
    if type(value) is not int or not 0 <= value <= maximum:
        raise ValueError("Not a count, or too large.")
    return value
