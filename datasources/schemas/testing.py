"""Schemas that were read, without anybody who reads."""

import json
from typing import Any

from datasources.connections.failures import Code
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.reading.assembly import Assembly
from datasources.schemas.reading.catalogue import Column, Table
from datasources.schemas.reading.readers import READERS
from datasources.schemas.snapshots.content import dump, pack


def column(name: str, **facts: Any) -> Column:
    """Give a column: a whole number that may be null, unless `facts` say something else."""
    usual: Any = {
        "name": name,
        "type": "integer",
        "common_type": "integer",
        "nullable": True,
        "has_default": False,
        "comment": None,
    }
    return usual | facts


def table(name: str, *columns: Column, **facts: Any) -> Table:
    """Give a table of the schema `public`, unless `facts` say something else."""
    usual: Any = {
        "schema": "public",
        "name": name,
        "kind": "table",
        "comment": None,
        "columns": [*columns],
        "primary_key": None,
        "foreign_keys": [],
        "indexes": [],
    }
    return usual | facts


def refresh(data_source: DataSource, *tables: Table, row_estimate: int | None = None) -> None:
    """Have a data source read: it was found to have these tables."""
    data_source.refresh_from_db()
    [running] = SchemaRefresh.objects.start([data_source])
    content = pack((one, row_estimate) for one in tables)
    running.finish(Code.OK, data_source, content)
    data_source.refresh_from_db()


def tables_of(connection: Any, configuration: Any) -> dict[str, Any]:
    """Give the tables by name, or by schema and name outside of the usual schema."""
    found = {}
    for table, row_estimate in Assembly(
        READERS[configuration.type](connection, configuration)
    ).tables():
        is_usual = table["schema"] in ("main", "public", configuration.database_name)
        key = table["name"] if is_usual else f"{table['schema']}.{table['name']}"
        found[key] = table | {"row_estimate": row_estimate}
    return found


def columns_of(table: Any) -> dict[str, tuple[Any, ...]]:
    """Give type, common type, whether nullable and whether it has a default, by column."""
    facts = ("type", "common_type", "nullable", "has_default")
    columns = json.loads(dump(table["columns"]))
    return {column["name"]: tuple(column[fact] for fact in facts) for column in columns}
