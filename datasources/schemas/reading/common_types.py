"""Common types: the types of all sources, mapped to a few that clients can compare."""

import re
from collections.abc import Mapping

from django.db.models import TextChoices

OPENING = re.compile(r"[(<]")


class CommonType(TextChoices):
    """The kind of values in a column, the same for all types of sources."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    STRING = "string"
    BINARY = "binary"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    TIMESTAMP_TZ = "timestamp_tz"
    INTERVAL = "interval"
    UUID = "uuid"
    JSON = "json"
    ARRAY = "array"
    OBJECT = "object"
    OTHER = "other"


_NAMES: dict[CommonType, tuple[str, ...]] = {
    CommonType.BOOLEAN: ("bool", "boolean"),
    CommonType.INTEGER: (
        *("bigint", "bigserial", "byteint", "hugeint", "int", "int2", "int4", "int8", "integer"),
        *("int16", "int32", "int64", "int128", "int256", "long", "mediumint", "serial", "short"),
        *("smallint", "smallserial", "tinyint", "ubigint", "uhugeint", "uint8", "uint16"),
        *("uint32", "uint64", "uint128", "uint256", "uinteger", "usmallint", "utinyint", "year"),
    ),
    CommonType.DECIMAL: (
        *("bigdecimal", "bignumeric", "dec", "decimal", "decimal128", "fixed", "money", "number"),
        *("numeric", "smallmoney"),
    ),
    CommonType.FLOAT: (
        *("binary_double", "binary_float", "double", "double precision", "float", "float4"),
        *("float8", "float32", "float64", "real"),
    ),
    CommonType.STRING: (
        *("char", "character", "character varying", "citext", "clob", "enum", "fixedstring"),
        *("long varchar", "longtext", "mediumtext", "name", "nchar", "nclob", "ntext", "nvarchar"),
        *("nvarchar2", "set", "string", "sysname", "text", "tinytext", "varchar", "varchar2"),
        *("bpchar", '"char"'),
    ),
    CommonType.BINARY: (
        *("bindata", "binary", "bit varying", "blob", "bytea", "bytes", "image", "long raw"),
        *("longblob", "mediumblob", "raw", "rowversion", "tinyblob", "varbinary"),
    ),
    CommonType.DATE: ("date", "date32"),
    CommonType.TIME: ("time", "time without time zone", "time with time zone", "timetz"),
    CommonType.TIMESTAMP: (
        *("datetime", "datetime2", "smalldatetime", "timestamp", "timestamp without time zone"),
        *("timestamp_ms", "timestamp_ntz", "timestamp_ns", "timestamp_s", "datetime64"),
    ),
    CommonType.TIMESTAMP_TZ: (
        *("datetimeoffset", "timestamp with local time zone", "timestamp with time zone"),
        *("timestamp_ltz", "timestamp_tz", "timestamptz"),
    ),
    CommonType.INTERVAL: ("interval",),
    CommonType.UUID: ("guid", "uniqueidentifier", "uuid"),
    CommonType.JSON: ("json", "jsonb", "variant", "super"),
    CommonType.ARRAY: ("array", "list"),
    CommonType.OBJECT: ("map", "object", "record", "row", "struct", "tuple"),
}
COMMON_TYPES = {name: common for common, names in _NAMES.items() for name in names}


def common_type(source_type: str, other_names: Mapping[str, CommonType]) -> CommonType:
    """Return the common type of a source's type; `other_names` take precedence over the rest."""
    if source_type.endswith("]"):  # `integer[]`
        return CommonType.ARRAY
    name = without_arguments(source_type).strip().lower()
    return other_names.get(name) or COMMON_TYPES.get(name, CommonType.OTHER)


def without_arguments(source_type: str) -> str:
    """Return a type without `(10,2)` or `<int>`, which may stand inside its name.

    One pass: a server may send a type of megabytes, on which a pattern with two ends backtracks.
    """
    opening = OPENING.search(source_type)
    end = max(source_type.rfind(")"), source_type.rfind(">"))
    if opening is None or end < opening.start():
        return source_type
    return source_type[: opening.start()].rstrip() + source_type[end + 1 :]
