"""The catalogue of Oracle, where a schema is a user."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

OWNED = """
({owner} = {schema} OR {schema} IS NULL
 AND {owner} IN (SELECT username FROM all_users WHERE oracle_maintained = 'N'))
"""
TYPE = """
CASE
    WHEN c.data_type IN ('CHAR', 'VARCHAR2')
        THEN c.data_type || '(' || c.char_length || decode(c.char_used, 'C', ' CHAR') || ')'
    WHEN c.data_type IN ('NCHAR', 'NVARCHAR2') THEN c.data_type || '(' || c.char_length || ')'
    WHEN c.data_type = 'RAW' THEN 'RAW(' || c.data_length || ')'
    WHEN c.data_type = 'FLOAT' THEN 'FLOAT(' || c.data_precision || ')'
    WHEN c.data_type = 'NUMBER' AND c.data_scale IS NOT NULL
        THEN 'NUMBER(' || nvl(to_char(c.data_precision), '*') || ',' || c.data_scale || ')'
    ELSE c.data_type END
"""
# What is said about a constraint, where it is not the usual.
OPTIONS = """
trim(decode(k.deferrable, 'DEFERRABLE', 'DEFERRABLE ')
    || decode(k.deferred, 'DEFERRED', 'INITIALLY DEFERRED ')
    || decode(k.status, 'DISABLED', 'DISABLE ')
    || decode(k.validated, 'NOT VALIDATED', 'NOVALIDATE'))
"""
NAME = re.compile(r'"[^"]+"')
WHOLE_NUMBER = re.compile(r"NUMBER\(.*,0\)")


class OracleReader(SQLReader):
    """Oracle 12.1 and later: the `ALL_` views, which show what the user may access."""

    types = ("oracle",)
    problem_without_columns = NO_COLUMNS
    placeholder = ":schema"
    common_types = {
        "bfile": CommonType.BINARY,
        "date": CommonType.TIMESTAMP,  # DATE has a time of day
        "interval day": CommonType.INTERVAL,  # `INTERVAL DAY(2) TO SECOND(6)` without the digits
        "interval year to month": CommonType.INTERVAL,
        "long": CommonType.STRING,
        "vector": CommonType.ARRAY,
        "rowid": CommonType.STRING,
        "urowid": CommonType.STRING,
        "xmltype": CommonType.STRING,
    }
    # Leaves out the tables that belong to others: the rest of index-organized ones, and logs of
    # materialized views. A materialized view is a table, too; its later row replaces that one.
    relations_sql = f"""
SELECT t.owner, t.table_name, 'table', d.comments, t.num_rows
FROM all_tables t LEFT JOIN all_tab_comments d
    ON d.owner = t.owner AND d.table_name = t.table_name AND d.table_type = 'TABLE'
WHERE t.nested = 'NO' AND t.secondary = 'N' AND t.dropped = 'NO'
AND (t.iot_type IS NULL OR t.iot_type = 'IOT') AND t.table_name NOT LIKE 'RUPD$\\_%' ESCAPE '\\'
AND NOT EXISTS (SELECT 1 FROM all_mview_logs g
    WHERE g.log_owner = t.owner AND g.log_table = t.table_name)
AND {OWNED.replace("{owner}", "t.owner")}
UNION ALL
SELECT v.owner, v.view_name, 'view', d.comments, NULL
FROM all_views v LEFT JOIN all_tab_comments d
    ON d.owner = v.owner AND d.table_name = v.view_name AND d.table_type = 'VIEW'
WHERE {OWNED.replace("{owner}", "v.owner")}
UNION ALL
SELECT m.owner, m.mview_name, 'materialized_view', NULL, t.num_rows
FROM all_mviews m LEFT JOIN all_tables t
    ON t.owner = m.owner AND t.table_name = m.container_name
WHERE {OWNED.replace("{owner}", "m.owner")}"""
    # The default is a LONG, which is fetched row by row, so only for those that have one; its
    # length tells.
    columns_sql = f"""
SELECT c.owner, c.table_name, c.column_name, {TYPE}, decode(c.nullable, 'Y', 1, 0),
    decode(c.default_length, NULL, 0, 1), d.comments
FROM all_tab_columns c LEFT JOIN all_col_comments d
    ON d.owner = c.owner AND d.table_name = c.table_name AND d.column_name = c.column_name
WHERE {OWNED.replace("{owner}", "c.owner")}
ORDER BY c.owner, c.table_name, c.column_id"""
    defaults_sql = f"""
SELECT c.owner, c.table_name, c.column_name, c.virtual_column, c.identity_column, c.data_default
FROM all_tab_cols c WHERE c.default_length IS NOT NULL
AND {OWNED.replace("{owner}", "c.owner")}"""
    primary_keys_sql = f"""
SELECT k.owner, k.table_name, k.constraint_name, c.column_name, {OPTIONS}
FROM all_constraints k JOIN all_cons_columns c
    ON c.owner = k.owner AND c.constraint_name = k.constraint_name
WHERE k.constraint_type = 'P' AND {OWNED.replace("{owner}", "k.owner")}
ORDER BY k.owner, k.table_name, c.position"""
    foreign_keys_sql = f"""
SELECT k.owner, k.table_name, k.constraint_name, c.column_name,
    r.owner, r.table_name, r.column_name, NULL, k.delete_rule, {OPTIONS}
FROM all_constraints k
JOIN all_cons_columns c ON c.owner = k.owner AND c.constraint_name = k.constraint_name
JOIN all_cons_columns r ON r.owner = k.r_owner AND r.constraint_name = k.r_constraint_name
    AND r.position = c.position
WHERE k.constraint_type = 'R' AND {OWNED.replace("{owner}", "k.owner")}
ORDER BY k.owner, k.table_name, k.constraint_name, c.position"""
    # A descending column is an expression, too. The text of expressions is a LONG, which is fetched
    # row by row, so it has a statement of its own.
    keys_sql = f"""
SELECT x.table_owner, x.table_name, x.index_name, decode(x.uniqueness, 'UNIQUE', 1, 0),
    c.column_name, decode(c.descend, 'DESC', 'DESC'), x.owner, c.column_position,
    x.index_type || decode(x.ityp_name, NULL, '', ' ' || x.ityp_owner || '.' || x.ityp_name),
    trim(decode(x.visibility, 'INVISIBLE', 'INVISIBLE ') || decode(x.status, 'UNUSABLE', 'UNUSABLE')
        || decode(x.parameters, NULL, '', ' PARAMETERS (' || x.parameters || ')'))
FROM all_indexes x
JOIN all_ind_columns c ON c.index_owner = x.owner AND c.index_name = x.index_name
WHERE {OWNED.replace("{owner}", "x.table_owner")} AND NOT EXISTS (
    SELECT 1 FROM all_constraints k WHERE k.constraint_type = 'P'
    AND k.owner = x.table_owner AND k.table_name = x.table_name AND k.index_name = x.index_name)
ORDER BY x.table_owner, x.table_name, x.index_name, c.column_position"""
    expressions_sql = f"""
SELECT e.index_owner, e.index_name, e.column_position, e.column_expression
FROM all_ind_expressions e WHERE {OWNED.replace("{owner}", "e.table_owner")}"""
    schema_sql = "SELECT 1 FROM all_users WHERE username = {schema}"

    def columns(self) -> Iterator[Sequence[Any]]:
        defaults = {row[:3]: default_of(*row[3:]) for row in self.rows(self.defaults_sql)}
        for row in self.rows(self.columns_sql):
            yield *row, defaults.get(tuple(row[:3]))

    def indexes(self) -> Iterator[Sequence[Any]]:
        expressions = {row[:3]: row[3] for row in self.rows(self.expressions_sql)}
        for *key, column, order, owner, position, method, options in self.rows(self.keys_sql):
            expression = str(expressions.get((owner, key[2], position), column))
            if NAME.fullmatch(expression):
                expression = expression[1:-1]
            yield *key, expression, order, False, method, None, options

    def common_type(self, source_type: str) -> CommonType:
        if WHOLE_NUMBER.fullmatch(source_type):
            return CommonType.INTEGER
        return super().common_type(source_type)


def default_of(is_virtual: str, is_identity: str, default: str | None) -> str | None:
    """Return the default of a column; that of an identity column is its sequence."""
    text = (default or "").strip()
    if is_virtual == "YES":
        return f"GENERATED ALWAYS AS ({text}) VIRTUAL"
    return "GENERATED AS IDENTITY" if is_identity == "YES" else text
