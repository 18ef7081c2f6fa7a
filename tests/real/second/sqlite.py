"""SQLite's own words about a file: its pragmas, and the text of its definitions."""

import re
import sqlite3
from typing import Any

from datasources.schemas.reading.catalogue import Index, Table
from tests.real.comparing import Facts, no_facts

EXPRESSION = -2


def second_reading(connection: sqlite3.Connection) -> Facts:
    """Return what SQLite says of a file."""
    facts = no_facts()

    def rows(statement: str, *parameters: str) -> list[Any]:
        return connection.execute(statement, parameters).fetchall()

    texts = dict(rows("SELECT name, sql FROM sqlite_schema WHERE type = 'index'"))
    shadows = {row[1] for row in rows("PRAGMA table_list") if row[2] == "shadow"}
    for name, kind in rows("SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')"):
        if name.startswith("sqlite_") or name in shadows:
            continue
        facts["tables"]["main", name] = kind
        quoted = '"' + name.replace('"', '""') + '"'
        try:
            columns = rows(f"PRAGMA table_xinfo({quoted})")
        except sqlite3.DatabaseError:
            continue  # a module or a function that is not there
        key = {row[5]: row[1] for row in columns if row[5] and row[6] != 1}
        for _, column, type_name, not_null, default, position, hidden in columns:
            if hidden == 1:
                continue
            # Keys may be null, but for the number of a row.
            is_number = position and len(key) == 1 and type_name.upper() == "INTEGER"
            facts["columns"]["main", name, column] = (
                type_name,
                not not_null and not is_number,
                None if hidden else default,
            )
        if key and kind == "table":
            facts["primary keys"]["main", name] = [column for _, column in sorted(key.items())]
        if kind == "table":
            add_keys(facts, name, rows(f"PRAGMA foreign_key_list({quoted})"), rows)
            for _, index, unique, origin, *_ in rows(f"PRAGMA index_list({quoted})"):
                if origin == "pk":
                    continue
                info = '"' + index.replace('"', '""') + '"'
                parts = [part for part in rows(f"PRAGMA index_xinfo({info})") if part[5]]
                facts["indexes"]["main", name, index] = (
                    squeezed(texts[index]) if texts.get(index) else None,
                    bool(unique),
                    [part[2] for part in parts if part[1] != EXPRESSION],
                    [order_of(bool(part[3]), part[4]) for part in parts],
                )
    return facts


def order_of(is_descending: bool, collation: str) -> str:
    """Return the collation and the order of a part of an index."""
    words = [
        *([f"COLLATE {collation}"] if collation != "BINARY" else []),
        *["DESC"] * is_descending,
    ]
    return " ".join(words)


def add_keys(facts: Facts, table: str, keys: list[Any], rows: Any) -> None:
    """Add the foreign keys of a table; SQLite does not name them."""
    found: dict[int, list[Any]] = {}
    for number, position, referred, column, referred_column, on_update, on_delete, _ in keys:
        if referred_column is None:
            quoted = '"' + referred.replace('"', '""') + '"'
            by_position = {row[5]: row[1] for row in rows(f"PRAGMA table_xinfo({quoted})")}
            referred_column = by_position.get(position + 1, "")
        found.setdefault(number, [referred, on_update, on_delete, []])[3].append(
            (column, referred_column)
        )
    for referred, on_update, on_delete, columns in found.values():
        pairs = tuple(columns)
        actions = tuple(text.replace(" ", "_").lower() for text in (on_update, on_delete))
        place = ("main", table, referred, pairs, actions)
        facts["foreign keys"][place] = facts["foreign keys"].get(place, 0) + 1


def squeezed(definition: str) -> str:
    """Return a definition in lower case, without comments, quotes, white space and noise words."""
    text = re.sub(r"--[^\n]*|/\*.*?\*/", "", definition.lower(), flags=re.DOTALL)
    text = re.sub(r"\bif not exists\b|\basc\b", "", text)
    # A column has a collation, too, which an index need not repeat.
    text = re.sub(r"\bcollate\s+[\"'`]?\w+[\"'`]?", "", text)
    return re.sub(r"[\s\"'`\[\]]|main\.", "", text)


def our_reading(tables: list[Table], second: Facts) -> Facts:
    """Return what was read of a file, in the shape of `second_reading`.

    An index whose definition is text in the file is written as such a text.
    """
    facts = no_facts()
    for table in tables:
        place = (table["schema"], table["name"])
        facts["tables"][place] = table["kind"]
        for column in table["columns"]:
            default = column["default_value"]
            is_generated = (default or "").startswith("GENERATED ALWAYS AS")
            facts["columns"][*place, column["name"]] = (
                column["type"],
                column["nullable"],
                None if is_generated else default,
            )
        if table["primary_key"]:
            facts["primary keys"][place] = table["primary_key"]["columns"]
        for key in table["foreign_keys"]:
            pairs = tuple(zip(key["columns"], key["referred_columns"], strict=True))
            actions = (key["on_update"], key["on_delete"])
            name = (*place, key["referred_table"], pairs, actions)
            facts["foreign keys"][name] = facts["foreign keys"].get(name, 0) + 1
        for index in table["indexes"]:
            index_name = (*place, index["name"])
            has_text = bool(second["indexes"].get(index_name, [None])[0])
            columns = {column["name"] for column in table["columns"]}
            facts["indexes"][index_name] = (
                squeezed(definition_of(table, index)) if has_text else None,
                index["is_unique"],
                [column for column in index["columns"] if column in columns],
                index["column_options"],
            )
    return facts


def definition_of(table: Table, index: Index) -> str:
    """Return the statement that creates an index."""
    parts = ", ".join(
        f"{name} {option}"
        for name, option in zip(index["columns"], index["column_options"], strict=True)
    )
    where = f" WHERE {index['predicate']}" if index["predicate"] else ""
    unique = "UNIQUE " if index["is_unique"] else ""
    return f"CREATE {unique}INDEX {index['name']} ON {table['name']} ({parts}){where}"
