"""The catalogue of SQL Server."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import NO_COLUMNS, SQLReader

TABLES = """
sys.objects o JOIN sys.schemas s ON s.schema_id = o.schema_id
AND o.type IN ('U', 'V') AND o.is_ms_shipped = 0 AND ({schema} IS NULL OR s.name = {schema})
"""
DESCRIPTION = """
LEFT JOIN sys.extended_properties d
ON d.class = 1 AND d.major_id = o.object_id AND d.name = 'MS_Description' AND d.minor_id ="""
# The type in T-SQL. max_length is in bytes; -1 stands for `max`. An alias type, which somebody
# defined, is shown as the type that it stands for; a CLR type has no other.
TYPES = """
JOIN sys.types a ON a.user_type_id = c.user_type_id
JOIN sys.types t ON t.user_type_id = CASE
    WHEN a.is_user_defined = 1 AND a.is_assembly_type = 0 THEN a.system_type_id
    ELSE a.user_type_id END"""
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
# NULL without the permission VIEW DEFINITION.
DEFAULT = """
CASE
    WHEN c.is_computed = 1 THEN 'AS ' + (SELECT y.definition
        + CASE y.is_persisted WHEN 1 THEN ' PERSISTED' ELSE '' END
        FROM sys.computed_columns y
        WHERE y.object_id = c.object_id AND y.column_id = c.column_id)
    WHEN c.is_identity = 1 THEN (SELECT 'IDENTITY(' + CAST(y.seed_value AS nvarchar(40)) + ','
        + CAST(y.increment_value AS nvarchar(40)) + ')'
        FROM sys.identity_columns y
        WHERE y.object_id = c.object_id AND y.column_id = c.column_id)
    ELSE (SELECT y.definition FROM sys.default_constraints y
        WHERE y.object_id = c.default_object_id) END
"""
# What is said about an index after its columns.
OPTIONS = """
CASE x.ignore_dup_key WHEN 1 THEN ' IGNORE_DUP_KEY' ELSE '' END
+ CASE x.is_disabled WHEN 1 THEN ' DISABLED' ELSE '' END
"""


class MSSQLReader(SQLReader):
    """SQL Server: the catalog views of the schema `sys`."""

    types = ("mssql",)
    problem_without_columns = NO_COLUMNS
    common_types = {
        "bit": CommonType.BOOLEAN,
        "timestamp": CommonType.BINARY,  # another name of rowversion
        "vector": CommonType.ARRAY,
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
    CAST(d.value AS nvarchar(1000)), {DEFAULT}
FROM {TABLES}
JOIN sys.columns c ON c.object_id = o.object_id
{TYPES}
{DESCRIPTION} c.column_id
ORDER BY o.object_id, c.column_id"""
    keys_sql = f"""
SELECT s.name, o.name, k.name, c.name, i.is_descending_key, x.type_desc, {OPTIONS}
FROM {TABLES}
JOIN sys.key_constraints k ON k.parent_object_id = o.object_id AND k.type = 'PK'
JOIN sys.indexes x ON x.object_id = o.object_id AND x.index_id = k.unique_index_id
JOIN sys.index_columns i ON i.object_id = o.object_id AND i.index_id = x.index_id
JOIN sys.columns c ON c.object_id = o.object_id AND c.column_id = i.column_id
WHERE i.key_ordinal > 0 OR i.partition_ordinal = 0
ORDER BY o.object_id, i.key_ordinal, i.index_column_id"""
    foreign_keys_sql = f"""
SELECT s.name, o.name, k.name, c.name, rs.name, r.name, rc.name,
    k.update_referential_action_desc, k.delete_referential_action_desc,
    LTRIM(CASE k.is_disabled WHEN 1 THEN 'DISABLED' ELSE '' END
        + CASE k.is_not_trusted WHEN 1 THEN ' NOT TRUSTED' ELSE '' END
        + CASE k.is_not_for_replication WHEN 1 THEN ' NOT FOR REPLICATION' ELSE '' END)
FROM {TABLES}
JOIN sys.foreign_keys k ON k.parent_object_id = o.object_id
JOIN sys.foreign_key_columns p ON p.constraint_object_id = k.object_id
JOIN sys.columns c ON c.object_id = o.object_id AND c.column_id = p.parent_column_id
JOIN sys.objects r ON r.object_id = k.referenced_object_id
JOIN sys.schemas rs ON rs.schema_id = r.schema_id
JOIN sys.columns rc ON rc.object_id = r.object_id AND rc.column_id = p.referenced_column_id
ORDER BY k.object_id, p.constraint_column_id"""
    # Columns of columnstore, XML and spatial indexes have no place in a key (key_ordinal 0), nor
    # have included columns, and columns that an index has only because its table is partitioned.
    indexes_sql = f"""
SELECT s.name, o.name, x.name, x.is_unique, c.name,
    CASE i.is_descending_key WHEN 1 THEN 'DESC' END,
    CASE WHEN i.is_included_column = 1 AND x.type IN (1, 2) THEN 1 ELSE 0 END,
    x.type_desc, x.filter_definition, LTRIM({OPTIONS})
FROM {TABLES}
JOIN sys.indexes x ON x.object_id = o.object_id AND x.is_primary_key = 0 AND x.is_hypothetical = 0
JOIN sys.index_columns i ON i.object_id = o.object_id AND i.index_id = x.index_id
JOIN sys.columns c ON c.object_id = o.object_id AND c.column_id = i.column_id
WHERE x.name IS NOT NULL
    AND (i.key_ordinal > 0 OR i.is_included_column = 1 OR i.partition_ordinal = 0)
ORDER BY o.object_id, x.index_id, i.is_included_column, i.key_ordinal, i.index_column_id"""
    schema_sql = "SELECT 1 FROM sys.schemas WHERE name = {schema}"

    def primary_keys(self) -> Iterator[Sequence[Any]]:
        for _, rows in groupby(self.rows(self.keys_sql), itemgetter(0, 1)):
            parts = [*rows]
            columns = ", ".join(f"{part[3]}{' DESC' if part[4] else ''}" for part in parts)
            order = f"({columns}) " if any(part[4] for part in parts) else ""
            for *names, _, method, options in parts:
                yield *names, f"{order}{method}{options}"
