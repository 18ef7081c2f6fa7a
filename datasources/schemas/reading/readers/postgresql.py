"""The catalogue of PostgreSQL 9.6 and later, and of other servers with its `pg_catalog`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from datasources.connections.configuration import Configuration
from datasources.schemas.reading.common_types import CommonType, common_type, without_arguments
from datasources.schemas.reading.readers.base import SQLReader
from datasources.schemas.reading.readers.postgresql_damage import damaged, is_damage
from datasources.schemas.reading.readers.postgresql_session import begin

# Columns that older servers do not have: the first version with each, and what replaces it.
SINCE = {
    "c.relispartition": (100000, "false"),
    "a.attidentity": (100000, "''"),
    "k.conparentid": (110000, "0"),
    "x.indnkeyatts": (110000, "x.indnatts"),
    "a.attgenerated": (120000, "''"),
    "x.indnullsnotdistinct": (150000, "false"),
    "k.confdelsetcols": (150000, "NULL::int2[]"),
    "k.conenforced": (180000, "true"),
    "k.conperiod": (180000, "false"),
}
# Partitions are left out: adding or dropping a monthly partition is no change of the schema.
TABLES = """
pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
AND CASE WHEN {schema}::text IS NULL
    THEN n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'crdb_internal')
    ELSE n.nspname = {schema}::text END
"""
# Types that are not built in; of the row types of tables only those that are used.
OWN_TYPES = """
SELECT format_type(t.oid, NULL), t.typname, t.typtype, t.typcategory,
    format_type(t.typbasetype, NULL), t.typnotnull, t.typdefaultbin IS NOT NULL,
    CASE WHEN t.oid <> ALL ({damaged}) THEN pg_get_expr(t.typdefaultbin, 0) END,
    EXISTS (SELECT FROM pg_type b WHERE b.typname = t.typname AND b.oid < 10000)
FROM pg_type t
WHERE t.oid >= 10000 AND NOT (t.typcategory = 'A' AND t.typelem <> 0)
    AND (t.typtype <> 'c' OR t.oid IN (SELECT atttypid FROM pg_attribute WHERE attnum > 0
        UNION ALL SELECT typbasetype FROM pg_type))
"""
COMMON_TYPES = {
    CommonType.INTEGER: ("oid", "xid", "xid8", "cid"),
    CommonType.STRING: (
        *("inet", "cidr", "macaddr", "macaddr8", "xml", "jsonpath", "pg_lsn", "refcursor"),
        *("regclass", "regcollation", "regconfig", "regdatabase", "regdictionary", "regnamespace"),
        *("regoper", "regoperator", "regproc", "regprocedure", "regrole", "regtype"),
        # Of extensions: ltree, isn.
        *("ltree", "lquery", "ltxtquery", "ean13", "isbn", "isbn13", "ismn", "ismn13", "issn"),
        *("issn13", "upc"),
    ),
    CommonType.BINARY: ("bit", '"bit"'),  # quoted if it has no length
    CommonType.INTERVAL: (
        *("interval year", "interval month", "interval day", "interval hour", "interval minute"),
        *("interval second", "interval year to month", "interval day to hour"),
        *("interval day to minute", "interval day to second", "interval hour to minute"),
        *("interval hour to second", "interval minute to second"),
    ),
    CommonType.ARRAY: (
        *("int2vector", "oidvector", "anyarray", "int4multirange", "int8multirange"),
        *("nummultirange", "tsmultirange", "tstzmultirange", "datemultirange"),
        *("vector", "halfvec"),  # of pgvector
    ),
    CommonType.OBJECT: (
        *("int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange", "hstore"),
    ),
}
# By `typtype`: composite types, enumerations, ranges and multiranges.
KINDS = {
    "c": CommonType.OBJECT,
    "e": CommonType.STRING,
    "r": CommonType.OBJECT,
    "m": CommonType.ARRAY,
}
# By `typcategory`, for base types of extensions whose names say nothing.
CATEGORIES = {"S": CommonType.STRING, "A": CommonType.ARRAY, "B": CommonType.BOOLEAN}
# Looked up, not joined: without statistics, the planner joins all columns of a table to each key.
COLUMN = "(SELECT attname FROM pg_attribute WHERE attrelid = {} AND attnum = {})"
STORAGE = "'WITH (' || array_to_string(i.reloptions, ', ') || ')'"
DEFERRAL = """
CASE WHEN k.condeferred THEN 'DEFERRABLE INITIALLY DEFERRED'
WHEN k.condeferrable THEN 'DEFERRABLE' END
"""
ACTION = """
CASE {} WHEN 'a' THEN 'NO ACTION' WHEN 'r' THEN 'RESTRICT' WHEN 'c' THEN 'CASCADE'
WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT' END
"""


def name_of(schema: str, name: str) -> str:
    """Return SQL for a name that may stand in an index; with its schema if the path lacks it."""
    return (
        f"CASE WHEN {schema} IN ('pg_catalog', 'public') THEN '' "
        f"ELSE quote_ident({schema}) || '.' END || quote_ident({name})"
    )


COLLATION = f"""
CASE WHEN part.collated NOT IN (0, t.typcollation) THEN (
    SELECT 'COLLATE ' || {name_of("ln.nspname", "l.collname")}
    FROM pg_collation l JOIN pg_namespace ln ON ln.oid = l.collnamespace
    WHERE l.oid = part.collated) END
"""
# Left out if the type of the column implies it.
OPERATOR_CLASS = f"""
CASE WHEN NOT o.opcdefault OR ia.attoptions IS NOT NULL OR (o.opcintype <> t.oid
    AND (o.opcmethod, t.oid) IN (SELECT opcmethod, opcintype FROM pg_opclass WHERE opcdefault))
THEN (SELECT {name_of("po.nspname", "o.opcname")} FROM pg_namespace po
        WHERE po.oid = o.opcnamespace)
    || coalesce(' (' || array_to_string(ia.attoptions, ', ') || ')', '') END
"""
ORDER = """
CASE part.option & 3 WHEN 1 THEN 'DESC NULLS LAST' WHEN 2 THEN 'NULLS FIRST' WHEN 3 THEN 'DESC' END
"""
EXCLUSION = """
CASE WHEN k.contype = 'x' THEN (
    SELECT 'WITH ' || CASE WHEN pn.nspname = 'pg_catalog' THEN p.oprname::text
        ELSE 'OPERATOR(' || quote_ident(pn.nspname) || '.' || p.oprname || ')' END
    FROM pg_operator p JOIN pg_namespace pn ON pn.oid = p.oprnamespace
    WHERE p.oid = k.conexclop[part.position::int])
WHEN k.conperiod AND part.position = x.indnkeyatts THEN 'WITHOUT OVERLAPS' END
"""


class OwnType(NamedTuple):
    """A type that is not built in."""

    common_type: CommonType
    is_not_null: bool
    has_default: bool
    default: str | None


class PostgreSQLReader(SQLReader):
    """PostgreSQL: `pg_catalog`, all statements in one read-only snapshot."""

    types = ("postgresql", "cockroachdb")
    common_types: Mapping[str, CommonType] = {
        name: common for common, names in COMMON_TYPES.items() for name in names
    }
    relations_sql = f"""
SELECT n.nspname, c.relname,
    CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized_view'
        WHEN 'f' THEN 'foreign_table' ELSE 'table' END,
    obj_description(c.oid, 'pg_class'), CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END
FROM {TABLES} ORDER BY c.oid"""
    # A column may hold nulls in spite of a NOT NULL that is not validated (PostgreSQL 18). Only
    # expressions of other columns are spelled with their table, for which the server waits for its
    # lock.
    columns_sql = f"""
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
    NOT a.attnotnull OR (a.attrelid, a.attnum) IN (
        SELECT conrelid, conkey[1] FROM pg_constraint WHERE contype = 'n' AND NOT convalidated),
    a.atthasdef OR a.attidentity <> '', d.description,
    CASE WHEN a.attidentity = 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
        WHEN a.attidentity = 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY'
        WHEN a.atthasdef THEN (
            SELECT CASE WHEN a.attgenerated <> '' THEN 'GENERATED ALWAYS AS (' ELSE '' END
                || pg_get_expr(f.adbin, CASE WHEN a.attgenerated <> '' THEN c.oid ELSE 0 END)
                || CASE a.attgenerated WHEN 's' THEN ') STORED' WHEN 'v' THEN ') VIRTUAL'
                    ELSE '' END
            FROM pg_attrdef f
            WHERE f.adrelid = c.oid AND f.adnum = a.attnum AND f.oid <> ALL ({{damaged}})) END
FROM {TABLES}
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_description d
    ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = a.attnum
ORDER BY c.oid, a.attnum"""
    primary_keys_sql = f"""
SELECT n.nspname, c.relname, k.conname, {COLUMN.format("k.conrelid", "part.number")},
    concat_ws(' ', CASE WHEN k.conperiod THEN 'WITHOUT OVERLAPS' END,
        CASE WHEN x.indnatts > x.indnkeyatts THEN 'INCLUDE (' || array_to_string(ARRAY(
            SELECT quote_ident(ia.attname) FROM pg_attribute ia
            WHERE ia.attrelid = x.indexrelid AND ia.attnum > x.indnkeyatts ORDER BY ia.attnum
        ), ', ') || ')' END, {STORAGE}, {DEFERRAL})
FROM {TABLES}
JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
LEFT JOIN pg_index x ON x.indexrelid = k.conindid
LEFT JOIN pg_class i ON i.oid = k.conindid
CROSS JOIN unnest(k.conkey) WITH ORDINALITY AS part (number, position)
ORDER BY k.oid, part.position"""
    # A key that refers to a partitioned table has another constraint for each partition.
    foreign_keys_sql = f"""
SELECT n.nspname, c.relname, k.conname, {COLUMN.format("k.conrelid", "part.number")},
    rn.nspname, r.relname, {COLUMN.format("k.confrelid", "part.referred")},
    {ACTION.format("k.confupdtype")}, {ACTION.format("k.confdeltype")},
    concat_ws(' ', CASE k.confmatchtype WHEN 'f' THEN 'MATCH FULL' WHEN 'p' THEN 'MATCH PARTIAL'
        END, CASE WHEN k.conperiod THEN 'PERIOD' END,
        CASE WHEN k.confdelsetcols IS NOT NULL THEN 'ON DELETE '
            || CASE k.confdeltype WHEN 'n' THEN 'SET NULL (' ELSE 'SET DEFAULT (' END
            || array_to_string(ARRAY(
                SELECT quote_ident(da.attname) FROM pg_attribute da
                WHERE da.attrelid = c.oid AND da.attnum = ANY (k.confdelsetcols)
                ORDER BY array_position(k.confdelsetcols, da.attnum)), ', ') || ')' END, {DEFERRAL},
        CASE WHEN NOT k.conenforced THEN 'NOT ENFORCED'
            WHEN NOT k.convalidated THEN 'NOT VALID' END)
FROM {TABLES}
JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' AND k.conparentid = 0
JOIN pg_class r ON r.oid = k.confrelid
JOIN pg_namespace rn ON rn.oid = r.relnamespace
CROSS JOIN unnest(k.conkey, k.confkey) WITH ORDINALITY AS part (number, referred, position)
ORDER BY k.oid, part.position"""
    # REINDEX CONCURRENTLY has a second index, with another suffix, until it is done.
    indexes_sql = f"""
SELECT n.nspname, c.relname, i.relname, x.indisunique,
    coalesce(a.attname, CASE WHEN i.oid <> ALL ({{damaged}})
        THEN pg_get_indexdef(i.oid, part.position::int, true) END, '(expression)'),
    concat_ws(' ', {COLLATION}, {OPERATOR_CLASS}, {ORDER}, {EXCLUSION}),
    part.position > x.indnkeyatts, am.amname,
    CASE WHEN x.indpred IS NOT NULL THEN coalesce(CASE WHEN i.oid <> ALL ({{damaged}})
        THEN pg_get_expr(x.indpred, x.indrelid, true) END, '(expression)') END,
    concat_ws(' ', CASE WHEN x.indnullsnotdistinct THEN 'NULLS NOT DISTINCT' END,
        {STORAGE}, {DEFERRAL},
        CASE WHEN NOT (x.indisvalid AND x.indisready) THEN 'INVALID' END)
FROM {TABLES}
JOIN pg_index x ON x.indrelid = c.oid AND NOT x.indisprimary
JOIN pg_class i ON i.oid = x.indexrelid
    AND (x.indisvalid OR i.relname !~ '_cc(new|old)[0-9]*$')
LEFT JOIN pg_am am ON am.oid = i.relam
LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype IN ('u', 'x')
CROSS JOIN unnest(x.indkey::int2[], x.indclass::oid[], x.indcollation::oid[], x.indoption::int2[])
    WITH ORDINALITY AS part (number, class, collated, option, position)
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = part.number
LEFT JOIN pg_attribute ia ON ia.attrelid = i.oid AND ia.attnum = part.position
LEFT JOIN pg_type t ON t.oid = coalesce(a.atttypid, ia.atttypid)
LEFT JOIN pg_opclass o ON o.oid = part.class
ORDER BY i.oid, part.position"""
    schema_sql = "SELECT 1 FROM pg_namespace WHERE nspname = {schema}"

    def __init__(self, connection: Any, configuration: Configuration) -> None:
        super().__init__(connection, configuration)
        self._own_types: dict[str, OwnType] = {}
        self._shadowing: set[str] = set()
        self._damaged: list[int] = []

    def can_read_around(self, error: Exception) -> bool:
        if is_damage(error):
            self._damaged = damaged(self.connection)
            return True
        return False

    def relations(self) -> Iterable[Sequence[Any]]:
        begin(self.connection)
        return super().relations()

    def columns(self) -> Iterator[Sequence[Any]]:
        self._read_own_types()
        for row in self.rows(self.columns_sql, "columns"):  # a named cursor is server-side
            yield self._resolved(row) if "." in row[3] else row

    def _resolved(self, row: Sequence[Any]) -> Sequence[Any]:
        """Return the row of a column whose type is not built in, with what its domains add."""
        *place, printed, nullable, has_default, comment, default = row
        source_type = self._shown(printed)
        own_type = self._own_types.get(source_type)
        if own_type is not None:
            nullable = nullable and not own_type.is_not_null
            default = default if has_default else own_type.default
            has_default = has_default or own_type.has_default
        return *place, source_type, nullable, has_default, comment, default

    def _read_own_types(self) -> None:
        """Read the types that are not built in, each domain resolved down to a type that is not."""
        rows = [*self.rows(OWN_TYPES)]
        self._shadowing = {name for name, *_, is_shadowing in rows if is_shadowing}
        by_name = {row[0]: row for row in rows}
        for printed, *_, has_default, default, _ in rows:
            name, is_not_null = printed, False
            while name in by_name and by_name[name][2] == "d":
                is_not_null |= by_name[name][5]
                name = by_name[name][4]
            common = self._kind(*by_name[name][1:4]) if name in by_name else self.common_type(name)
            self._own_types[self._shown(printed)] = OwnType(
                common, is_not_null, has_default, default
            )

    def _kind(self, name: str, kind: str, category: str) -> CommonType:
        """Return the common type of a type that is neither built in nor a domain."""
        if kind != "b":
            return KINDS.get(kind, CommonType.OTHER)
        found = common_type(name, self.common_types)
        return CATEGORIES.get(category, found) if found == CommonType.OTHER else found

    def _shown(self, printed: str) -> str:
        """Return a type without the schema `public`, unless it then looks like a built-in type."""
        is_alike = without_arguments(printed.removesuffix("[]")) in self._shadowing
        return printed if is_alike else printed.removeprefix("public.")

    def common_type(self, source_type: str) -> CommonType:
        own_type = self._own_types.get(source_type)
        if own_type is None and not source_type.endswith("]"):
            own_type = self._own_types.get(without_arguments(source_type))
        return own_type.common_type if own_type else super().common_type(source_type)

    def rows(self, statement: str | None, *cursor_type: Any) -> Iterator[Sequence[Any]]:
        """Run a statement, without what this server does not have or cannot spell."""
        if statement is not None:
            statement = for_version(statement, self.connection.info.server_version)
            oids = ",".join(map(str, self._damaged))
            statement = statement.replace("{damaged}", f"ARRAY[{oids}]::oid[]")
        return super().rows(statement, *cursor_type)


def for_version(statement: str, version: int) -> str:
    """Return a statement without the columns that a server of this version does not have."""
    for column, (first_version, replacement) in SINCE.items():
        if version < first_version:
            statement = statement.replace(column, replacement)
    return statement
