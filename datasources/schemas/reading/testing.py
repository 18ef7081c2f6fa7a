"""Helpers of tests of readers: their tables, fake catalogues, and what differs."""

import json
from typing import Any
from unittest import mock

from datasources.connections.attempt import connector_for
from datasources.connections.configuration import Configuration
from datasources.connections.stages import Stages
from datasources.connections.testing.connectors import LOOPBACK_POLICY
from datasources.connections.testing.postgresql import DATABASE, PASSWORD, USERNAME
from datasources.schemas.reading.assembly import Assembly
from datasources.schemas.reading.catalogue import Table
from datasources.schemas.reading.child import read_catalogue
from datasources.schemas.reading.readers import READERS
from datasources.schemas.snapshots.changes import changes_of_table
from datasources.schemas.snapshots.content import Content, dump, lines_of, pack


def tables_of(connection: Any, configuration: Any) -> dict[str, Any]:
    """Return the tables of a source by name, or by `schema.name` outside the default schema."""
    found = {}
    for table, row_estimate in Assembly(
        READERS[configuration.type](connection, configuration)
    ).tables():
        is_default = table["schema"] in ("main", "public", configuration.database_name)
        key = table["name"] if is_default else f"{table['schema']}.{table['name']}"
        found[key] = table | {"row_estimate": row_estimate}
    return found


def fake_catalogue(type_name: str, **rows: Any) -> Any:
    """Return a fake connection that answers a reader's statements, by their names without `_sql`.

    Other statements have no rows.
    """
    reader = READERS[type_name]
    answers = {
        getattr(reader, f"{name}_sql").replace("{schema}", reader.placeholder): found  # type: ignore[attr-defined]
        for name, found in rows.items()
    }

    def make_cursor() -> mock.Mock:
        cursor = mock.Mock()

        def execute(statement: str, _: Any) -> None:
            cursor.fetchmany.side_effect = [answers.get(statement, []), []]

        cursor.execute = execute
        return cursor

    return mock.Mock(cursor=make_cursor)


def digest_of(tables: dict[str, Any]) -> str:
    """Return the digest that a snapshot of these tables would have."""
    found = [{name: table[name] for name in Table.__annotations__} for table in tables.values()]
    return pack((table, None) for table in found).digest  # type: ignore[misc]


def changed_members(before: Any, after: Any) -> set[tuple[str, str | None, str]]:
    """Return (object, name, member) for each member that differs between two states of a table.

    For something that was added or removed, the member is the change itself.
    """
    found = set()
    for change in changes_of_table(before, after):
        members = change["from"] if change["change"] == "changed" else [change["change"]]
        found |= {(str(change["object"]), change["name"], str(member)) for member in members or ()}
    return found


def columns_of(table: Any) -> dict[str, tuple[Any, ...]]:
    """Return (type, common type, nullable, has default) by column."""
    facts = ("type", "common_type", "nullable", "has_default")
    columns = json.loads(dump(table["columns"]))
    return {column["name"]: tuple(column[fact] for fact in facts) for column in columns}


def read_postgresql(port: int, database: str = DATABASE, **facts: Any) -> Content:
    """Return the schema of a database of a `PostgreSQLServer`, read as in the sandbox.

    `facts` are fields of the configuration. Exceptions of the driver pass through.
    """
    defaults: dict[str, Any] = {"username": USERNAME, "secrets": {"password": PASSWORD}}
    configuration = Configuration(
        "postgresql",
        host="127.0.0.1",
        port=port,
        database_name=database,
        connection_timeout=20,
        query_timeout=20,
        **(defaults | facts),
    )
    with connector_for(configuration, LOOPBACK_POLICY, Stages()) as connector:
        connection = connector.connect()
        try:
            return read_catalogue(connection, configuration, lambda **message: None)
        finally:
            connector.close(connection)


def tables_in(content: Content) -> dict[str, Any]:
    """Return the tables of a content by name, or by `schema.name` outside the schema `public`."""
    found = {}
    for line in (line for block in content.blocks for line in lines_of(block)):
        table = json.loads(line)
        schema = "" if table["schema"] == "public" else f"{table['schema']}."
        found[schema + table["name"]] = table
    return found
