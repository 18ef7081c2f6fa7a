"""The catalogue of PostgreSQL, and of other servers with its `pg_catalog`."""

from collections.abc import Iterable, Sequence
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import SQLReader

# Partitions are left out: adding or dropping a monthly partition is no change of the schema.
TABLES = """
pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
AND CASE WHEN {schema}::text IS NULL
    THEN n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ELSE n.nspname = {schema}::text END
"""
# User-defined types: domains (d), enumerations (e) and composite types (c).
OWN_TYPES = """
SELECT format_type(t.oid, NULL), t.typtype, format_type(t.typbasetype, NULL)
FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typtype IN ('d', 'e') OR c.relkind = 'c'
"""


class PostgreSQLReader(SQLReader):
    """PostgreSQL: `pg_catalog`, all statements in one read-only snapshot."""

    types = ("postgresql", "cockroachdb")
    common_types = {"bit": CommonType.BINARY}
    relations_sql = f"""
SELECT n.nspname, c.relname,
    CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized_view'
        WHEN 'f' THEN 'foreign_table' ELSE 'table' END,
    obj_description(c.oid, 'pg_class'), CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END
FROM {TABLES}"""
    columns_sql = f"""
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
    NOT a.attnotnull, a.atthasdef OR a.attidentity <> '', d.description
FROM {TABLES}
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_description d
    ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = a.attnum
ORDER BY c.oid, a.attnum"""
    primary_keys_sql = f"""
SELECT n.nspname, c.relname, k.conname, a.attname
FROM {TABLES}
JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
CROSS JOIN unnest(k.conkey) WITH ORDINALITY AS part (number, position)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = part.number
ORDER BY k.oid, part.position"""
    foreign_keys_sql = f"""
SELECT n.nspname, c.relname, k.conname, a.attname, rn.nspname, r.relname, ra.attname
FROM {TABLES}
JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f'
JOIN pg_class r ON r.oid = k.confrelid
JOIN pg_namespace rn ON rn.oid = r.relnamespace
CROSS JOIN unnest(k.conkey, k.confkey) WITH ORDINALITY AS part (number, referred, position)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = part.number
JOIN pg_attribute ra ON ra.attrelid = r.oid AND ra.attnum = part.referred
ORDER BY k.oid, part.position"""
    # Leaves out INCLUDE columns, which are not part of the key of an index.
    indexes_sql = f"""
SELECT n.nspname, c.relname, i.relname, x.indisunique,
    coalesce(a.attname, pg_get_indexdef(i.oid, part.position::int, true))
FROM {TABLES}
JOIN pg_index x ON x.indrelid = c.oid AND NOT x.indisprimary
JOIN pg_class i ON i.oid = x.indexrelid
CROSS JOIN unnest(x.indkey::int2[]) WITH ORDINALITY AS part (number, position)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = part.number
WHERE part.position <= x.indnkeyatts
ORDER BY i.oid, part.position"""
    schema_sql = "SELECT 1 FROM pg_namespace WHERE nspname = {schema}"

    def relations(self) -> Iterable[Sequence[Any]]:
        self.connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return super().relations()

    def columns(self) -> Iterable[Sequence[Any]]:
        self.common_types = {**self.common_types, **self.own_types()}
        return self.rows(self.columns_sql, "columns")  # a named cursor is server-side

    def own_types(self) -> dict[str, CommonType]:
        """Return the common types of user-defined types.

        A domain has its base type's, an enumeration is a string.
        """
        return {
            name.lower(): {"c": CommonType.OBJECT, "d": self.common_type(base)}.get(
                kind, CommonType.STRING
            )
            for name, kind, base in self.rows(OWN_TYPES)
        }
