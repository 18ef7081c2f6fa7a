"""The collections of MongoDB, with the fields found in a sample of their documents."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from datasources.connections.configuration import Configuration
from datasources.schemas.reading.catalogue import Kind
from datasources.schemas.reading.common_types import CommonType
from datasources.schemas.reading.readers.base import Reader

SAMPLE_SIZE = 100
FIELDS_MAX = 2_000
DEPTH_MAX = 3
# Names as in MongoDB's `$type`, by the class that pymongo returns.
TYPES = {
    "NoneType": "null",
    "bool": "bool",
    "int": "int",
    "Int64": "long",
    "float": "double",
    "Decimal128": "decimal",
    "str": "string",
    "datetime": "date",
    "DatetimeMS": "date",
    "ObjectId": "objectId",
    "bytes": "binData",
    "Binary": "binData",
    "UUID": "binData",
    "list": "array",
    "dict": "object",
    "Regex": "regex",
    "Timestamp": "timestamp",
    "Code": "javascript",
    "MinKey": "minKey",
    "MaxKey": "maxKey",
    "DBRef": "object",
}
NUMBERS = {
    frozenset(("int", "long")): CommonType.INTEGER,
    frozenset(("int", "double")): CommonType.FLOAT,
    frozenset(("long", "double")): CommonType.FLOAT,
    frozenset(("int", "long", "double")): CommonType.FLOAT,
}
# Error codes of temporary failures: unreachable hosts, time-outs, locks, killed cursors.
TEMPORARY_ERRORS = frozenset((6, 7, 24, 43, 50, 89, 133, 134, 202, 237, 262, 9001, 11601))


class MongoDBReader(Reader):
    """MongoDB: the fields of a sample of documents.

    Only the documents of a collection say what it contains, so each collection takes a few
    statements. A type such as `int|string` means that values of both types were found. What the
    server refuses, such as reading a view of a dropped collection, is left out.
    """

    types = ("mongodb",)
    common_types = {
        "date": CommonType.TIMESTAMP_TZ,
        "objectid": CommonType.STRING,
        "regex": CommonType.STRING,
        "javascript": CommonType.STRING,
        "timestamp": CommonType.OTHER,
    }

    def __init__(self, connection: Any, configuration: Configuration) -> None:
        from bson.codec_options import CodecOptions, DatetimeConversion

        super().__init__(connection, configuration)
        # No value may fail to decode: some dates are beyond Python's range, some text is broken.
        codec_options: Any = CodecOptions(
            datetime_conversion=DatetimeConversion.DATETIME_AUTO,
            unicode_decode_error_handler="replace",
        )
        self._database = connection.get_database(configuration.database_name, codec_options)
        self._types: dict[str, str] = {}

    def relations(self) -> Iterator[Sequence[Any]]:
        collections = self._database.list_collections(nameOnly=True, authorizedCollections=True)
        for entry in collections:
            name, kind = entry["name"], entry.get("type", "collection")
            if not name.startswith("system."):
                self._types[name] = kind
                is_view, count = kind == "view", None
                if not is_view:
                    with refusal_suppressed():
                        count = self._database[name].estimated_document_count()
                yield self._schema, name, Kind.VIEW if is_view else Kind.COLLECTION, None, count

    def primary_keys(self) -> Iterator[Sequence[Any]]:
        return ((self._schema, name, None, "_id") for name in self._plain_collections())

    def indexes(self) -> Iterator[Sequence[Any]]:
        for name in self._plain_collections():
            indexes: list[Mapping[str, Any]] = []
            with refusal_suppressed():
                indexes = [*self._database[name].list_indexes()]
            for index in indexes:
                if index["name"] != "_id_":
                    is_unique = bool(index.get("unique"))
                    for field in index["key"]:
                        yield self._schema, name, index["name"], is_unique, field

    def columns(self) -> Iterator[Sequence[Any]]:
        for name in self._types:
            fields = Fields(())
            with refusal_suppressed():
                fields = Fields(self._sample(name))
            for field in fields.names():
                nullable, source_type = fields.is_nullable(field), fields.type_of(field)
                yield self._schema, name, field, source_type, nullable, False, None

    @property
    def _schema(self) -> str:
        name: str = self._database.name
        return name

    def _plain_collections(self) -> list[str]:
        """Return the names of the collections that are neither views nor time series."""
        return [name for name, kind in self._types.items() if kind == "collection"]

    def _sample(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Yield the oldest and the newest documents by `_id`; of a view or time series, any.

        `$sample` would pick other documents each time, so rare fields would come and go. Views and
        time series have no index on `_id`.
        """
        documents = self._database[name]
        if self._types[name] != "collection":
            yield from documents.find().limit(SAMPLE_SIZE)
            return
        for direction in (1, -1):
            yield from documents.find().sort("_id", direction).limit(SAMPLE_SIZE // 2)

    def common_type(self, source_type: str) -> CommonType:
        kinds = frozenset(source_type.split("|"))
        return NUMBERS.get(kinds) or super().common_type(source_type)


@contextmanager
def refusal_suppressed() -> Iterator[None]:
    """Suppress permanent refusals by the server, so that other collections are read.

    Temporary errors pass through: otherwise fields would be missing until the next refresh.
    """
    from pymongo.errors import OperationFailure

    try:
        yield
    except OperationFailure as error:
        if error.code in TEMPORARY_ERRORS:
            raise


class Fields:
    """The fields of some documents; a nested field is named by its path, such as `home.city`."""

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self._types: dict[str, dict[str, int]] = {}
        self._count = 0
        for document in documents:
            self._count += 1
            self._add(document, "", 1)

    def names(self) -> list[str]:
        """Return the names of the fields, in the order in which they were found."""
        return [*self._types]

    def type_of(self, field: str) -> str:
        """Return the types of the values of a field, joined by `|`; `null` only if alone."""
        found = sorted(name for name in self._types[field] if name != "null")
        return "|".join(found) or "null"

    def is_nullable(self, field: str) -> bool:
        """Return whether a document has null in this field, or lacks the field."""
        types = self._types[field]
        return "null" in types or sum(types.values()) < self._count

    def _add(self, document: Mapping[str, Any], prefix: str, depth: int) -> None:
        for name, value in document.items():
            field = f"{prefix}{name}"
            if field not in self._types and len(self._types) >= FIELDS_MAX:
                continue
            source_type = TYPES.get(type(value).__name__, "other")
            types = self._types.setdefault(field, {})
            types[source_type] = types.get(source_type, 0) + 1
            if isinstance(value, Mapping) and depth < DEPTH_MAX:
                self._add(value, f"{field}.", depth + 1)
