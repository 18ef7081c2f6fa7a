"""DuckDB's own words about a file: its pragmas, the standard's views, and texts of indexes."""

import re
from typing import Any

from datasources.schemas.reading.catalogue import Table
from tests.real.comparing import Facts, no_facts

# Texts of constraints have their columns; information_schema repeats names of constraints.
KEYS = """
SELECT table_name, constraint_type, constraint_text FROM duckdb_constraints()
WHERE constraint_type IN ('PRIMARY KEY', 'FOREIGN KEY', 'UNIQUE')
"""
FOREIGN_KEY = re.compile(r"FOREIGN KEY \((.*?)\) REFERENCES (.*?) ?\((.*?)\)")


def second_reading(connection: Any) -> Facts:
    """Return what DuckDB says of a file."""
    facts = no_facts()

    def rows(statement: str, *parameters: str) -> list[Any]:
        found: list[Any] = connection.execute(statement, parameters).fetchall()
        return found

    for name, kind in rows("SELECT table_name, table_type FROM information_schema.tables"):
        facts["tables"]["main", name] = "view" if kind == "VIEW" else "table"
        quoted = name.replace("'", "''")
        for _, column, type_name, not_null, default, _ in rows(f"PRAGMA table_info('{quoted}')"):
            facts["columns"]["main", name, column] = (type_name, not not_null, default)
    for name, kind, text in rows(KEYS):
        if kind == "FOREIGN KEY" and (found := FOREIGN_KEY.match(text)):
            place = (name, names(found[1]), found[2].strip('"'), names(found[3]))
            facts["foreign keys"][place] = facts["foreign keys"].get(place, 0) + 1
        elif kind == "PRIMARY KEY":
            facts["primary keys"]["main", name] = names(text[text.index("(") + 1 : -1])
        elif kind == "UNIQUE":
            add_unique(facts, name, names(text[text.index("(") + 1 : -1]))
    for name, index, text in rows("SELECT table_name, index_name, sql FROM duckdb_indexes()"):
        columns = text[text.index("(") + 1 : text.rindex(")")]
        facts["indexes"]["main", name, index] = (" UNIQUE " in text, squeezed(columns))
    return facts


def add_unique(facts: Facts, table: str, columns: tuple[str, ...]) -> None:
    """Count a unique constraint by its columns; DuckDB makes up the names."""
    place = (table, *columns)
    facts["indexes"][place] = facts["indexes"].get(place, 0) + 1


def names(text: str) -> tuple[str, ...]:
    """Return the names of a list."""
    return tuple(part.strip().strip('"') for part in text.split(","))


def squeezed(text: str) -> str:
    """Return expressions without quotes, parentheses and white space."""
    return re.sub(r"[\s\"()]", "", text).lower()


def our_reading(tables: list[Table], second: Facts) -> Facts:
    """Return what was read of a file, in the shape of `second_reading`."""
    facts = no_facts()
    for table in tables:
        place = (table["schema"], table["name"])
        facts["tables"][place] = table["kind"]
        for column in table["columns"]:
            facts["columns"][*place, column["name"]] = (
                column["type"],
                column["nullable"],
                column["default_value"],
            )
        if table["primary_key"]:
            facts["primary keys"][place] = tuple(table["primary_key"]["columns"])
        for key in table["foreign_keys"]:
            name = (
                *(table["name"], tuple(key["columns"])),
                *(key["referred_table"], tuple(key["referred_columns"])),
            )
            facts["foreign keys"][name] = facts["foreign keys"].get(name, 0) + 1
        for index in table["indexes"]:
            index_name = (*place, index["name"])
            if index_name in second["indexes"]:
                parts = ",".join(index["columns"])
                facts["indexes"][index_name] = (index["is_unique"], squeezed(parts))
            else:
                add_unique(facts, table["name"], tuple(index["columns"]))
    return facts
