"""The catalogue of Oracle, where a schema is a user."""

import re

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import SQLReader

OWNED = """
({owner} = {schema} OR {schema} IS NULL
 AND {owner} IN (SELECT username FROM all_users WHERE oracle_maintained = 'N'))
"""
TYPE = """
CASE
    WHEN c.data_type IN ('CHAR', 'NCHAR', 'NVARCHAR2', 'VARCHAR2')
        THEN c.data_type || '(' || c.char_length || ')'
    WHEN c.data_type = 'RAW' THEN 'RAW(' || c.data_length || ')'
    WHEN c.data_type = 'FLOAT' THEN 'FLOAT(' || c.data_precision || ')'
    WHEN c.data_type = 'NUMBER' AND c.data_scale IS NOT NULL
        THEN 'NUMBER(' || nvl(to_char(c.data_precision), '*') || ',' || c.data_scale || ')'
    ELSE c.data_type END
"""
WHOLE_NUMBER = re.compile(r"NUMBER\(.*,0\)")


class OracleReader(SQLReader):
    """Oracle 12.1 and later: the `ALL_` views, which show what the user may access."""

    types = ("oracle",)
    placeholder = ":schema"
    common_types = {
        "bfile": CommonType.BINARY,
        "date": CommonType.TIMESTAMP,  # DATE has a time of day
        "interval day": CommonType.INTERVAL,  # `INTERVAL DAY(2) TO SECOND(6)` without the digits
        "interval year to month": CommonType.INTERVAL,
        "long": CommonType.STRING,
        "rowid": CommonType.STRING,
        "urowid": CommonType.STRING,
        "xmltype": CommonType.STRING,
    }
    # A materialized view is listed as a table, too; its later row replaces the table's.
    relations_sql = f"""
SELECT t.owner, t.table_name, 'table', d.comments, t.num_rows
FROM all_tables t LEFT JOIN all_tab_comments d
    ON d.owner = t.owner AND d.table_name = t.table_name AND d.table_type = 'TABLE'
WHERE t.nested = 'NO' AND t.secondary = 'N' AND t.dropped = 'NO'
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
    # The default is a LONG, which is fetched row by row; its length tells whether there is one.
    columns_sql = f"""
SELECT c.owner, c.table_name, c.column_name, {TYPE}, decode(c.nullable, 'Y', 1, 0),
    decode(c.default_length, NULL, 0, 1), d.comments
FROM all_tab_columns c LEFT JOIN all_col_comments d
    ON d.owner = c.owner AND d.table_name = c.table_name AND d.column_name = c.column_name
WHERE {OWNED.replace("{owner}", "c.owner")}
ORDER BY c.owner, c.table_name, c.column_id"""
    primary_keys_sql = f"""
SELECT k.owner, k.table_name, k.constraint_name, c.column_name
FROM all_constraints k JOIN all_cons_columns c
    ON c.owner = k.owner AND c.constraint_name = k.constraint_name
WHERE k.constraint_type = 'P' AND {OWNED.replace("{owner}", "k.owner")}
ORDER BY k.owner, k.table_name, c.position"""
    foreign_keys_sql = f"""
SELECT k.owner, k.table_name, k.constraint_name, c.column_name,
    r.owner, r.table_name, r.column_name
FROM all_constraints k
JOIN all_cons_columns c ON c.owner = k.owner AND c.constraint_name = k.constraint_name
JOIN all_cons_columns r ON r.owner = k.r_owner AND r.constraint_name = k.r_constraint_name
    AND r.position = c.position
WHERE k.constraint_type = 'R' AND {OWNED.replace("{owner}", "k.owner")}
ORDER BY k.owner, k.table_name, k.constraint_name, c.position"""
    # Name an expression "(expression)": its text is a LONG, which is fetched row by row.
    indexes_sql = f"""
SELECT x.table_owner, x.table_name, x.index_name, decode(x.uniqueness, 'UNIQUE', 1, 0),
    CASE WHEN c.column_name LIKE 'SYS\\_NC%$' ESCAPE '\\' THEN '(expression)'
        ELSE c.column_name END
FROM all_indexes x
JOIN all_ind_columns c ON c.index_owner = x.owner AND c.index_name = x.index_name
WHERE {OWNED.replace("{owner}", "x.table_owner")} AND NOT EXISTS (
    SELECT 1 FROM all_constraints k WHERE k.constraint_type = 'P'
    AND k.owner = x.table_owner AND k.table_name = x.table_name AND k.index_name = x.index_name)
ORDER BY x.table_owner, x.table_name, x.index_name, c.column_position"""
    schema_sql = "SELECT 1 FROM all_users WHERE username = {schema}"

    def common_type(self, source_type: str) -> CommonType:
        if WHOLE_NUMBER.fullmatch(source_type):
            return CommonType.INTEGER
        return super().common_type(source_type)
