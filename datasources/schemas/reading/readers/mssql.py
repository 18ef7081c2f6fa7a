"""The catalogue of SQL Server."""

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import SQLReader

TABLES = """
sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
AND o.type IN ('U', 'V') AND o.is_ms_shipped = 0 AND ({schema} IS NULL OR s.name = {schema})
"""
DESCRIPTION = """
LEFT JOIN sys.extended_properties d
ON d.class = 1 AND d.major_id = o.object_id AND d.name = 'MS_Description' AND d.minor_id ="""
# The type in T-SQL. max_length is in bytes; -1 stands for `max`.
TYPE = """
t.name + CASE
    WHEN t.name IN ('binary', 'char', 'nchar', 'nvarchar', 'varbinary', 'varchar') THEN '(' + CASE
        WHEN c.max_length = -1 THEN 'max'
        WHEN t.name LIKE 'n%%' THEN CAST(c.max_length / 2 AS varchar(5))
        ELSE CAST(c.max_length AS varchar(5)) END + ')'
    WHEN t.name IN ('decimal', 'numeric')
        THEN '(' + CAST(c.precision AS varchar(5)) + ',' + CAST(c.scale AS varchar(5)) + ')'
    WHEN t.name IN ('datetime2', 'datetimeoffset', 'time')
        THEN '(' + CAST(c.scale AS varchar(5)) + ')'
    ELSE '' END
"""


class MSSQLReader(SQLReader):
    """SQL Server: the catalog views of the schema `sys`."""

    types = ("mssql",)
    common_types = {
        "bit": CommonType.BOOLEAN,
        "timestamp": CommonType.BINARY,  # another name of rowversion
        "xml": CommonType.STRING,
    }
    relations_sql = f"""
SELECT s.name, o.name, CASE o.type WHEN 'V' THEN 'view' ELSE 'table' END,
    CAST(d.value AS nvarchar(1000)),
    (SELECT SUM(p.rows) FROM sys.partitions p
     WHERE p.object_id = o.object_id AND p.index_id IN (0, 1))
FROM {TABLES} {DESCRIPTION} 0"""
    columns_sql = f"""
SELECT s.name, o.name, c.name, {TYPE}, c.is_nullable,
    CASE WHEN c.default_object_id <> 0 OR c.is_identity = 1 OR c.is_computed = 1
        THEN 1 ELSE 0 END,
    CAST(d.value AS nvarchar(1000))
FROM {TABLES}
JOIN sys.columns c ON c.object_id = o.object_id
JOIN sys.types t ON t.user_type_id = c.user_type_id
{DESCRIPTION} c.column_id
ORDER BY o.object_id, c.column_id"""
    primary_keys_sql = f"""
SELECT s.name, o.name, k.name, c.name
FROM {TABLES}
JOIN sys.key_constraints k ON k.parent_object_id = o.object_id AND k.type = 'PK'
JOIN sys.index_columns i ON i.object_id = o.object_id AND i.index_id = k.unique_index_id
JOIN sys.columns c ON c.object_id = o.object_id AND c.column_id = i.column_id
ORDER BY o.object_id, i.key_ordinal"""
    foreign_keys_sql = f"""
SELECT s.name, o.name, k.name, c.name, rs.name, r.name, rc.name
FROM {TABLES}
JOIN sys.foreign_keys k ON k.parent_object_id = o.object_id
JOIN sys.foreign_key_columns p ON p.constraint_object_id = k.object_id
JOIN sys.columns c ON c.object_id = o.object_id AND c.column_id = p.parent_column_id
JOIN sys.objects r ON r.object_id = k.referenced_object_id
JOIN sys.schemas rs ON rs.schema_id = r.schema_id
JOIN sys.columns rc ON rc.object_id = r.object_id AND rc.column_id = p.referenced_column_id
ORDER BY k.object_id, p.constraint_column_id"""
    # Included columns, which are not part of the key, have key_ordinal 0.
    indexes_sql = f"""
SELECT s.name, o.name, x.name, x.is_unique, c.name
FROM {TABLES}
JOIN sys.indexes x ON x.object_id = o.object_id AND x.is_primary_key = 0 AND x.is_hypothetical = 0
JOIN sys.index_columns i ON i.object_id = o.object_id AND i.index_id = x.index_id
JOIN sys.columns c ON c.object_id = o.object_id AND c.column_id = i.column_id
WHERE i.key_ordinal > 0
ORDER BY o.object_id, x.index_id, i.key_ordinal"""
    schema_sql = "SELECT 1 FROM sys.schemas WHERE name = {schema}"
