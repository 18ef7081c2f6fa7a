"""PostgreSQL's own words about its objects: definitions, the standard's views, and queries."""

import re
from typing import Any

import psycopg

from datasources.schemas.reading.catalogue import ForeignKey, Index, PrimaryKey, Table
from tests.real.comparing import Facts, no_facts

TABLES = """
SELECT n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT relispartition
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized_view", "f": "foreign_table"}
COLUMNS = """
SELECT c.table_schema, c.table_name, c.column_name, c.is_nullable,
    coalesce(c.column_default, d.domain_default), c.identity_generation, c.is_generated,
    c.generation_expression, nullif(c.domain_schema, 'public'), c.domain_name
FROM information_schema.columns c LEFT JOIN information_schema.domains d
    USING (domain_schema, domain_name)
"""
CONSTRAINTS = """
SELECT n.nspname, c.relname, k.conname, k.contype, pg_get_constraintdef(k.oid, true)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n
    ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'f', 'u', 'x') AND k.conparentid = 0 AND NOT c.relispartition
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
INDEXES = """
SELECT n.nspname, c.relname, i.relname, pg_get_indexdef(i.oid, 0, true)
FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT x.indisprimary AND NOT c.relispartition
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
"""
DEFERRAL = re.compile(r" (DEFERRABLE.*)$")


def second_reading(connection: "psycopg.Connection[Any]") -> tuple[Facts, set[str]]:
    """Return what the server says of a database, and the words that it puts in quotes."""
    facts = no_facts()
    execute = connection.execute
    # As for the reader, names in expressions are whole: nextval('public.orders_id_seq'::regclass).
    execute("SET search_path = pg_catalog")
    said = {tuple(row[:3]): row[3:] for row in execute(COLUMNS)}
    execute("SET search_path = public")
    words = {word for (word,) in execute("SELECT word FROM pg_get_keywords() WHERE catcode <> 'U'")}
    for schema, table, kind in execute(TABLES).fetchall():
        facts["tables"][schema, table] = KINDS[kind]
        for name, type_name in result_columns(connection, schema, table):
            # The standard's views do not know materialized views.
            nullable, *default, place, domain = said.get(
                (schema, table, name), ("YES", None, None, "NEVER", None, None, None)
            )
            # The result of a query has the type that a domain is of.
            type_name = ".".join(filter(None, (place, domain))) or type_name
            facts["columns"][schema, table, name] = (
                type_name.replace("public.", "", type_name.startswith("public.")),
                nullable == "YES",
                default_of(*default),
            )
    constraints = {tuple(row[:3]): row[3:] for row in execute(CONSTRAINTS)}
    for (schema, table, name), (kind, definition) in constraints.items():
        if kind == "p":
            facts["primary keys"][schema, table] = (name, definition)
        elif kind == "f":
            facts["foreign keys"][schema, table, name] = definition
    for schema, table, name, definition in execute(INDEXES):
        kind, constraint = constraints.get((schema, table, name), ("", ""))
        deferral = DEFERRAL.search(constraint)
        # Storage parameters stand in quotes here, and without quotes in the catalogue.
        whole = re.sub(r" WITH \(.*?\)", lambda found: found[0].replace("'", ""), definition)
        text = constraint if kind == "x" else whole + (deferral[0] if deferral else "")
        facts["indexes"][schema, table, name] = without_public(text)
    return facts, words


def without_public(definition: str) -> str:
    """Return a definition without the schema `public`; the search path decides where it stands."""
    return definition.replace("public.", "")


def result_columns(
    connection: "psycopg.Connection[Any]", schema: str, table: str
) -> list[tuple[str, str]]:
    """Return the names and types of the result of a query for all columns of a table."""
    name = psycopg.sql.Identifier(schema, table)
    with connection.cursor() as cursor:
        cursor.execute(psycopg.sql.SQL("SELECT * FROM {} LIMIT 0").format(name))
        result = cursor.pgresult
        assert result is not None
        found = [
            ((result.fname(i) or b"").decode(), result.ftype(i), result.fmod(i))
            for i in range(result.nfields)
        ]
        printed = []
        for column, type_id, modifier in found:
            cursor.execute("SELECT format_type(%s, %s)", [type_id, modifier])
            printed.append((column, cursor.fetchone()[0]))  # type: ignore[index]
    return printed


def default_of(
    default: str | None, identity: str | None, is_generated: str, expression: str | None
) -> str | None:
    """Return what fills a column, in the words of its definition; without the kind of storage."""
    if identity:
        return f"GENERATED {identity} AS IDENTITY"
    return f"GENERATED ALWAYS AS ({expression})" if is_generated == "ALWAYS" else default


def our_reading(tables: list[Table], words: set[str]) -> Facts:
    """Return what was read of a database, in the words of the server."""
    facts = no_facts()
    quoted = Quoting(words)
    for table in tables:
        place = (table["schema"], table["name"])
        facts["tables"][place] = table["kind"]
        for column in table["columns"]:
            default = (
                re.sub(r"(?<=\)) (STORED|VIRTUAL)$", "", column["default_value"] or "") or None
            )
            facts["columns"][*place, column["name"]] = (
                column["type"],
                column["nullable"],
                default,
            )
        if table["primary_key"]:
            facts["primary keys"][place] = quoted.primary_key(table["primary_key"])
        for key in table["foreign_keys"]:
            facts["foreign keys"][*place, key["name"]] = quoted.foreign_key(key)
        for index in table["indexes"]:
            facts["indexes"][*place, index["name"]] = without_public(quoted.index(table, index))
    return facts


class Quoting:
    """Writes definitions, with names in quotes where the server needs them."""

    def __init__(self, words: set[str]) -> None:
        self._words = words

    def name(self, *parts: str) -> str:
        """Return a name in quotes, if needed; without the schema `public`."""
        parts = parts[1:] if parts[0] == "public" and len(parts) > 1 else parts
        return ".".join(map(self._quoted, parts))

    def _quoted(self, part: str) -> str:
        is_plain = re.fullmatch(r"[a-z_][a-z0-9_]*", part) and part not in self._words
        return part if is_plain else '"' + part.replace('"', '""') + '"'

    def names(self, parts: list[str]) -> str:
        """Return names, with commas between them."""
        return ", ".join(map(self._quoted, parts))

    def primary_key(self, key: PrimaryKey) -> tuple[str | None, str]:
        """Return the name and the definition of a primary key."""
        return key[
            "name"
        ], f"PRIMARY KEY ({self.names(key['columns'])}) {key['options'] or ''}".strip()

    def foreign_key(self, key: ForeignKey) -> str:
        """Return the definition of a foreign key."""
        text = (
            f"FOREIGN KEY ({self.names(key['columns'])}) REFERENCES "
            f"{self.name(key['referred_schema'] or '', key['referred_table'])}"
            f"({self.names(key['referred_columns'])})"
        )
        match, rest = re.fullmatch(r"(MATCH FULL)? ?(.*)", key["options"] or "").groups()  # type: ignore[union-attr]
        actions = [
            f"ON {event} {action.upper().replace('_', ' ')}"
            for event, action in (("UPDATE", key["on_update"]), ("DELETE", key["on_delete"]))
            if action not in (None, "no_action")
        ]
        return " ".join([text, *([match] if match else []), *actions, *([rest] if rest else [])])

    def index(self, table: Table, index: Index) -> str:
        """Return the definition of an index."""
        columns = {column["name"] for column in table["columns"]}

        def part(name: str) -> str:
            return self._quoted(name) if name in columns else name

        parts = ", ".join(
            f"{part(name)} {option}".rstrip()
            for name, option in zip(index["columns"], index["column_options"], strict=True)
        )
        nulls, storage, deferral = re.fullmatch(  # type: ignore[union-attr]
            r"(NULLS NOT DISTINCT)? ?(WITH \(.*?\))? ?(DEFERRABLE.*|INVALID)?",
            index["options"] or "",
        ).groups(default="")
        where = index["predicate"]
        is_exclusion = " WITH " in parts
        included = f"INCLUDE ({self.names(index['included_columns'])})"
        clauses = [
            f"EXCLUDE USING {index['method']} ({parts})"
            if is_exclusion
            else f"CREATE {'UNIQUE ' * index['is_unique']}INDEX {self._quoted(index['name'])} ON "
            f"{self.name(table['schema'], table['name'])} USING {index['method']} ({parts})",
            included if index["included_columns"] else "",
            nulls,
            storage,
            f"WHERE ({where})" if where and is_exclusion else f"WHERE {where}" if where else "",
            deferral,
        ]
        return " ".join(filter(None, clauses))
