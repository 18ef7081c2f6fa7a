"""Helpers of schema tests: tables, and snapshots without a worker."""

from typing import Any

from datasources.connections.failures import Code
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.reading.catalogue import Column, Table
from datasources.schemas.snapshots.content import pack


def column(name: str, **facts: Any) -> Column:
    """Return a nullable integer column, with `facts` in place of these defaults."""
    defaults: Any = {
        "name": name,
        "type": "integer",
        "common_type": "integer",
        "nullable": True,
        "has_default": False,
        "default_value": None,
        "comment": None,
    }
    return defaults | facts


def table(name: str, *columns: Column, **facts: Any) -> Table:
    """Return a table in the schema `public`, with `facts` in place of these defaults."""
    defaults: Any = {
        "schema": "public",
        "name": name,
        "kind": "table",
        "comment": None,
        "columns": [*columns],
        "primary_key": None,
        "foreign_keys": [],
        "indexes": [],
        "problem": None,
    }
    return defaults | facts


def refresh(data_source: DataSource, *tables: Table, row_estimate: int | None = None) -> None:
    """Store a finished refresh of a data source that found these tables."""
    data_source.refresh_from_db()
    [running] = SchemaRefresh.objects.start([data_source])
    content = pack((found, row_estimate) for found in tables)
    running.finish(Code.OK, data_source, content)
    data_source.refresh_from_db()
