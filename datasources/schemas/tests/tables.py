"""The tables that a reader finds, for tests."""

import json

from datasources.schemas.assembly import Assembly
from datasources.schemas.content import dump
from datasources.schemas.readers import READERS


def tables_of(connection, configuration):
    """Give the tables by name, or by schema and name outside of the usual schema."""
    found = {}
    for table, row_estimate in Assembly(
        READERS[configuration.type](connection, configuration)
    ).tables():
        is_usual = table["schema"] in ("main", "public", configuration.database_name)
        key = table["name"] if is_usual else f"{table['schema']}.{table['name']}"
        found[key] = table | {"row_estimate": row_estimate}
    return found


def columns_of(table):
    """Give type, common type, whether nullable and whether it has a default, by column."""
    facts = ("type", "common_type", "nullable", "has_default")
    columns = json.loads(dump(table["columns"]))
    return {column["name"]: tuple(column[fact] for fact in facts) for column in columns}
