"""The catalogue of Databricks."""

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

WANTED = """
table_schema <> 'information_schema' AND table_schema = coalesce({schema}, table_schema)
"""


class DatabricksReader(SQLReader):
    """Databricks: the `information_schema` of a Unity catalog. There are no indexes."""

    types = ("databricks",)
    problem_without_columns = NO_COLUMNS
    placeholder = ":schema"
    common_types = {"timestamp": CommonType.TIMESTAMP_TZ}
    relations_sql = f"""
SELECT table_schema, table_name, CASE table_type WHEN 'VIEW' THEN 'view'
    WHEN 'MATERIALIZED_VIEW' THEN 'materialized_view'
    WHEN 'FOREIGN' THEN 'foreign_table' ELSE 'table' END, comment, NULL
FROM information_schema.tables WHERE {WANTED}"""
    columns_sql = f"""
SELECT table_schema, table_name, column_name, full_data_type, is_nullable = 'YES',
    column_default IS NOT NULL OR is_identity = 'YES', comment,
    CASE is_identity WHEN 'YES' THEN 'GENERATED ' || identity_generation || ' AS IDENTITY'
        ELSE column_default END
FROM information_schema.columns WHERE {WANTED}
ORDER BY table_schema, table_name, ordinal_position"""
    primary_keys_sql = f"""
SELECT table_schema, table_name, constraint_name, column_name
FROM information_schema.key_column_usage
WHERE {WANTED} AND position_in_unique_constraint IS NULL
ORDER BY table_schema, table_name, ordinal_position"""
    foreign_keys_sql = f"""
SELECT k.table_schema, k.table_name, k.constraint_name, k.column_name,
    p.table_schema, p.table_name, p.column_name, r.update_rule, r.delete_rule
FROM information_schema.key_column_usage k
JOIN information_schema.referential_constraints r
    ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name
JOIN information_schema.key_column_usage p
    ON p.constraint_schema = r.unique_constraint_schema
    AND p.constraint_name = r.unique_constraint_name
    AND p.ordinal_position = k.position_in_unique_constraint
WHERE {WANTED.replace("table_schema", "k.table_schema")}
ORDER BY k.table_schema, k.table_name, k.constraint_name, k.ordinal_position"""
    schema_sql = "SELECT 1 FROM information_schema.schemata WHERE schema_name = {schema}"
