"""The catalogue of Redshift, which lacks much of a current PostgreSQL."""

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import SQLReader

OWN_SCHEMAS = "('information_schema', 'pg_automv', 'pg_catalog', 'pg_internal')"
WANTED = f"""
CASE WHEN {{schema}}::text IS NULL THEN table_schema NOT IN {OWN_SCHEMAS}
ELSE table_schema = {{schema}} END
"""
TYPE = """
data_type || CASE
    WHEN data_type IN ('character', 'character varying')
        THEN '(' || character_maximum_length || ')'
    WHEN data_type = 'numeric' THEN '(' || numeric_precision || ',' || numeric_scale || ')'
    ELSE '' END
"""
# Redshift cannot unnest arrays.
KEY_COLUMNS = f"""
pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
    AND {WANTED.replace("table_schema", "n.nspname")}
JOIN (SELECT generate_series(1, 32) AS position) AS part ON k.conkey[part.position] IS NOT NULL
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[part.position]
"""


class RedshiftReader(SQLReader):
    """Redshift: the `SVV_` views, which include external tables. There are no indexes."""

    types = ("redshift",)
    common_types = {
        "super": CommonType.JSON,
        "varbyte": CommonType.BINARY,
        "binary varying": CommonType.BINARY,
        "interval day to second": CommonType.INTERVAL,
        "interval year to month": CommonType.INTERVAL,
        "oid": CommonType.INTEGER,
    }
    relations_sql = f"""
SELECT table_schema, table_name, CASE table_type WHEN 'VIEW' THEN 'view'
    WHEN 'EXTERNAL TABLE' THEN 'foreign_table' ELSE 'table' END, remarks, NULL
FROM svv_tables WHERE {WANTED}"""
    columns_sql = f"""
SELECT table_schema, table_name, column_name, {TYPE}, is_nullable <> 'NO',
    coalesce(column_default, '') <> '', remarks, nullif(column_default, '')
FROM svv_columns WHERE {WANTED}
ORDER BY table_schema, table_name, ordinal_position"""
    primary_keys_sql = f"""
SELECT n.nspname, c.relname, k.conname, a.attname
FROM {KEY_COLUMNS} WHERE k.contype = 'p' ORDER BY k.oid, part.position"""
    foreign_keys_sql = f"""
SELECT n.nspname, c.relname, k.conname, a.attname, rn.nspname, r.relname, ra.attname
FROM {KEY_COLUMNS}
JOIN pg_class r ON r.oid = k.confrelid
JOIN pg_namespace rn ON rn.oid = r.relnamespace
JOIN pg_attribute ra ON ra.attrelid = r.oid AND ra.attnum = k.confkey[part.position]
WHERE k.contype = 'f' ORDER BY k.oid, part.position"""
    schema_sql = "SELECT 1 FROM svv_all_schemas WHERE schema_name = {schema}"
