"""The collections of MongoDB, and what their documents are like."""

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
# As MongoDB's `$type` names them, by the class that pymongo gives.
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
# The numbers of errors that are of the server, and may be over the next time: hosts out of reach,
# time-outs, locks, killed cursors.
PASSING = frozenset((6, 7, 24, 43, 50, 89, 133, 134, 202, 237, 262, 9001, 11601))


class MongoDBReader(Reader):
    """MongoDB: the fields are those of a sample.

    What a collection has nobody knows but its documents: it takes some statements for each one. A
    type such as `int|string` says that values of both were found. What cannot be asked of one, such
    as a view of what is gone, or one that the user may not read, is left out.
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
        # No value may stop the reading: there are dates that Python does not know, and broken text.
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
        """Name those that are no views and no time series."""
        return [name for name, kind in self._types.items() if kind == "collection"]

    def _sample(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Give the oldest and the newest documents, by `_id`.

        Those of `$sample` would be others each time, and rare fields would come and go. Without an
        index, any are taken.
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
    """Leave out what the server refuses of a collection, now and always: the others are read.

    What may be over the next time passes through: else its fields would be gone until then.
    """
    from pymongo.errors import OperationFailure

    try:
        yield
    except OperationFailure as error:
        if error.code in PASSING:
            raise


class Fields:
    """What fields some documents have: `home.city` is one of a document in a document."""

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        self._types: dict[str, dict[str, int]] = {}
        self._count = 0
        for document in documents:
            self._count += 1
            self._add(document, "", 1)

    def names(self) -> list[str]:
        """Give their names, in the order in which they were met."""
        return [*self._types]

    def type_of(self, field: str) -> str:
        """Give the types of its values, `null` apart if there are others."""
        found = sorted(name for name in self._types[field] if name != "null")
        return "|".join(found) or "null"

    def is_nullable(self, field: str) -> bool:
        """Whether a document has null there, or nothing."""
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
