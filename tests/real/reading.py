"""Reading a source as a refresh does: by a connector and a reader, in a child of the sandbox."""

import asyncio
import json
from typing import Any

from datasources.connections.configuration import Configuration
from datasources.connections.failures import Code
from datasources.connections.outcome import Outcome
from datasources.connections.sandbox.attempt import attempt_in_child
from datasources.connections.sandbox.process import run_in_child
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.schemas.reading.catalogue import Table
from datasources.schemas.reading.child import read_and_send
from datasources.schemas.reading.sandbox import Reading
from datasources.schemas.snapshots.content import lines_of

LIMITS = {"connection_timeout": 60, "query_timeout": 120}


class UnreadableError(Exception):
    """The refresh of a source would have failed; the message is its code."""


def read_tables(type_name: str, **fields: Any) -> list[Table]:
    """Return the tables of a source. Raises UnreadableError."""
    configuration = Configuration(type_name, **(LIMITS | fields))
    reading = Reading(configuration)
    reading.end(asyncio.run(run_in_child(read_and_send, configuration, LOOPBACK_POLICY, reading)))
    if reading.code != Code.OK or reading.content is None:
        raise UnreadableError(f"{reading.code} {reading.details}")
    return [json.loads(line) for block in reading.content.blocks for line in lines_of(block)]


def try_connection(type_name: str, **fields: Any) -> Outcome:
    """Return the outcome of a connection test of a source."""
    configuration = Configuration(type_name, **(LIMITS | fields))
    return asyncio.run(attempt_in_child(configuration, LOOPBACK_POLICY))
