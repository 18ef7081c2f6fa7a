"""MariaDB's own words about its tables: SHOW CREATE TABLE, and SHOW COLUMNS for views."""

import re
from typing import Any

from datasources.schemas.reading.catalogue import ForeignKey, Index, Table
from tests.real.comparing import Facts, no_facts

NAME = r"`(?:[^`]|``)+`"
TEXT = r"'(?:[^'\\]|''|\\.)*'"
COLUMN = re.compile(
    rf"({NAME}) (\w+(?:\((?:{TEXT}|[^()'])*\))?(?: unsigned)?(?: zerofill)?(?: /\*.*?\*/)?)(.*)",
    re.DOTALL,
)
GENERATED = re.compile(r" GENERATED ALWAYS AS \((.*)\) (VIRTUAL|STORED)", re.DOTALL)
FILLED = re.compile(
    rf" DEFAULT ({TEXT}|b{TEXT}|[^ (]+(?:\([^()]*\))?|\(.*\))(?= ON UPDATE| COMMENT| CHECK| REF|$)",
    re.DOTALL,
)
UPDATED = re.compile(r" ON UPDATE (\S+)")
FOREIGN_KEY = re.compile(
    rf"CONSTRAINT ({NAME}) FOREIGN KEY \((.*?)\) REFERENCES (?:({NAME})\.)?({NAME}) \((.*?)\)(.*)"
)
INDEX = re.compile(rf"(?:(UNIQUE|FULLTEXT|SPATIAL) )?KEY ({NAME}) \((.*)\)(.*)")
PART = re.compile(rf"({NAME})((?:\(\d+\))?(?: DESC)?)")
METHODS = {"FULLTEXT": "FULLTEXT", "SPATIAL": "SPATIAL"}


def second_reading(connection: Any, database: str) -> Facts:
    """Return what the server says of a database."""
    facts = no_facts()
    with connection.cursor() as cursor:
        cursor.execute(f"USE `{database}`")
        # Names without the database, as in a script of the tables.
        cursor.execute("SHOW FULL TABLES")
        for name, kind in cursor.fetchall():
            if kind == "SEQUENCE":
                continue
            facts["tables"][database, name] = "view" if "VIEW" in kind else "table"
            if "VIEW" in kind:
                cursor.execute(f"SHOW COLUMNS FROM `{name}`")
                for column, type_name, nullable, *_ in cursor.fetchall():
                    facts["columns"][database, name, column] = (type_name, nullable == "YES", None)
                continue
            cursor.execute(f"SHOW CREATE TABLE `{name}`")
            add_definition(facts, database, name, cursor.fetchone()[1])
    return facts


def add_definition(facts: Facts, database: str, table: str, definition: str) -> None:
    """Add what a definition says of a table. Raises ValueError for a line of another form."""
    body = definition[definition.index("(\n") + 2 : definition.rindex("\n)")]
    for line in re.split(
        r",\n(?=  (?:`|PRIMARY|UNIQUE|FULLTEXT|SPATIAL|KEY|CONSTRAINT|CHECK|PERIOD))", body
    ):
        line = line.strip()
        if line.startswith("`"):
            name, fact = column_of(line)
            facts["columns"][database, table, name] = fact
        elif line.startswith("PRIMARY KEY"):
            parts = PART.findall(line)
            facts["primary keys"][database, table] = [
                plain(name) + option for name, option in parts
            ]
        elif found := FOREIGN_KEY.fullmatch(line):
            name, columns, schema, referred, referred_columns, actions = found.groups()
            facts["foreign keys"][database, table, plain(name)] = (
                names(columns),
                plain(schema) if schema else database,
                plain(referred),
                names(referred_columns),
                action(actions, "UPDATE"),
                action(actions, "DELETE"),
            )
        elif found := INDEX.fullmatch(line):
            kind, name, parts_text, options = found.groups()
            using = re.search(r"USING (\w+)", options)
            assumed = "HASH" if "\n) ENGINE=MEMORY" in definition else "BTREE"
            facts["indexes"][database, table, plain(name)] = (
                kind == "UNIQUE",
                [plain(column) + option for column, option in PART.findall(parts_text)],
                METHODS.get(kind, using[1] if using else assumed),
            )
        elif not line.startswith(("CONSTRAINT", "CHECK", "PERIOD")):
            raise ValueError(f"{table}: {line}")


def column_of(line: str) -> tuple[str, tuple[str, bool, str | None]]:
    """Return the name, and the type, whether it can be null, and the default of a column."""
    found = COLUMN.fullmatch(line)
    if not found:
        raise ValueError(line)
    name, type_name, rest = found.groups()
    rest = re.sub(rf" COMMENT {TEXT}", "", rest)
    rest = re.sub(r" (CHARACTER SET|COLLATE) \w+", "", rest)
    if generated := GENERATED.search(rest):
        default: str | None = f"GENERATED ALWAYS AS ({generated[1]}) {generated[2]}"
    else:
        filled = FILLED.search(rest)
        clauses = [filled[1]] if filled and filled[1] != "NULL" else []
        clauses += ["AUTO_INCREMENT"] if " AUTO_INCREMENT" in rest else []
        if updated := UPDATED.search(rest):
            clauses.append(f"ON UPDATE {updated[1]}")
        default = " ".join(clauses) or None
    return plain(name), (type_name, " NOT NULL" not in rest, default)


def plain(name: str) -> str:
    """Return a name without its quotes."""
    return name[1:-1].replace("``", "`")


def names(listed: str) -> list[str]:
    """Return the names of a list."""
    return [plain(name) for name in re.findall(NAME, listed)]


def action(text: str, event: str) -> str:
    """Return the action of a foreign key; MariaDB does not write the one that it assumes."""
    found = re.search(rf"ON {event} (CASCADE|SET NULL|SET DEFAULT|NO ACTION|RESTRICT)", text)
    return found[1].replace(" ", "_").lower() if found else "restrict"


def our_reading(tables: list[Table]) -> Facts:
    """Return what was read of a database, in the shape of `second_reading`."""
    facts = no_facts()
    for table in tables:
        place = (table["schema"], table["name"])
        facts["tables"][place] = table["kind"]
        for column in table["columns"]:
            default = None if table["kind"] == "view" else column["default_value"]
            facts["columns"][*place, column["name"]] = (column["type"], column["nullable"], default)
        if key := table["primary_key"]:
            listed = re.match(r"\((.*?\)?)\)(?: |$)", key["options"] or "")
            facts["primary keys"][place] = (
                [part.replace(" (", "(") for part in listed[1].split(", ")]
                if listed
                else key["columns"]
            )
        for foreign in table["foreign_keys"]:
            facts["foreign keys"][*place, foreign["name"]] = foreign_key(foreign)
        for index in table["indexes"]:
            facts["indexes"][*place, index["name"]] = index_of(index)
    return facts


def foreign_key(key: ForeignKey) -> tuple[Any, ...]:
    """Return what was read of a foreign key."""
    return (
        *(key["columns"], key["referred_schema"], key["referred_table"], key["referred_columns"]),
        *(key["on_update"], key["on_delete"]),
    )


def index_of(index: Index) -> tuple[Any, ...]:
    """Return what was read of an index."""
    parts = [
        column + (option if option.startswith("(") else f" {option}".rstrip())
        for column, option in zip(index["columns"], index["column_options"], strict=True)
    ]
    return index["is_unique"], parts, index["method"]
