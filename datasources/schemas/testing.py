"""Schemas that were read, without anybody who reads."""

from typing import Any

from datasources.connections.failures import Code
from datasources.models import DataSource
from datasources.schemas.catalogue import Column, Table
from datasources.schemas.content import pack
from datasources.schemas.models import SchemaRefresh


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
