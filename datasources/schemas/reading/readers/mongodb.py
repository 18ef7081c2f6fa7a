"""The collections of MongoDB, with the fields found in a sample of their documents."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from datasources.connections.configuration import Configuration
from datasources.connections.connectors.mongodb import UNAUTHORIZED
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
# Options of an index that have a member of their own, or say nothing about it.
SHOWN_OPTIONS = ("background", "key", "name", "ns", "partialFilterExpression", "unique", "v")


class MongoDBReader(Reader):
    """MongoDB: the fields of a sample of documents.

    Only the documents of a collection say what it contains, so each collection takes a few
    statements. A type such as `int|string` means that values of both types were found. What the
    server refuses, such as a view whose expression fails, has a problem and no fields.
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
        self._indexes: dict[str, Sequence[Mapping[str, Any]]] = {}

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
        for name, kind in self._types.items():
            if kind == "collection":
                # The user may not be allowed to list indexes, but each collection has this one.
                found = next(filter(is_primary, self._indexes_of(name)), None)
                yield self._schema, name, None, "_id", options_of(found)

    def indexes(self) -> Iterator[Sequence[Any]]:
        for name, kind in self._types.items():
            if kind == "view":
                continue
            for index in self._indexes_of(name):
                if is_primary(index):
                    continue
                predicate = index.get("partialFilterExpression")
                rest = (
                    *(False, method_of(index["key"])),
                    *(None if predicate is None else as_json(predicate), options_of(index)),
                )
                for field, option in fields_of(index):
                    is_unique = bool(index.get("unique"))
                    yield self._schema, name, index["name"], is_unique, field, option, *rest

    def columns(self) -> Iterator[Sequence[Any]]:
        for name in self._types:
            fields = Fields(())
            with refusal_suppressed(self._tell(name)):
                fields = Fields(self._sample(name))
            for field in fields.names():
                nullable, source_type = fields.is_nullable(field), fields.type_of(field)
                yield self._schema, name, field, source_type, nullable, False, None

    def _tell(self, name: str) -> Callable[[str], None]:
        """Return a function that stores why the fields of a collection cannot be read."""
        return partial(self.problems.__setitem__, (self._schema, name))

    def _indexes_of(self, name: str) -> Sequence[Mapping[str, Any]]:
        """Return the indexes of a collection; none if the server refuses to list them."""
        if name not in self._indexes:
            self._indexes[name] = []
            with refusal_suppressed():
                self._indexes[name] = [*self._database[name].list_indexes()]
        return self._indexes[name]

    @property
    def _schema(self) -> str:
        name: str = self._database.name
        return name

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


def fields_of(index: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield the fields of an index with their kind or direction, where that is not ascending.

    MongoDB replaces the fields of a text index by two of its own; their names are in the weights.
    """
    for field, direction in index["key"].items():
        if direction == "text":
            yield from ((name, "text") for name in sorted(index.get("weights", {field: 1})))
        elif field != "_ftsx":
            yield field, None if direction == 1 else str(direction).removesuffix(".0")


def method_of(key: Mapping[str, Any]) -> str | None:
    """Return the kind of an index that is not an ordinary one, such as `2dsphere`."""
    kinds = [direction for direction in key.values() if isinstance(direction, str)]
    is_wildcard = any(field == "$**" or field.endswith(".$**") for field in key)
    return next(iter(kinds), "wildcard" if is_wildcard else None)


def is_primary(index: Mapping[str, Any]) -> bool:
    """Return whether an index is the one on `_id` that each collection has."""
    return index["name"] == "_id_" or bool(index.get("clustered"))


def options_of(index: Mapping[str, Any] | None) -> str | None:
    """Return the other options of an index as JSON, sorted by name; None if there are none."""
    index = index or {}
    options = {name: index[name] for name in sorted(index) if name not in SHOWN_OPTIONS}
    return as_json(options) if options else None


def as_json(value: Any) -> str:
    """Return a value of BSON as JSON; what JSON does not have is spelled as MongoDB does."""
    from bson.json_util import RELAXED_JSON_OPTIONS, dumps

    return dumps(value, json_options=RELAXED_JSON_OPTIONS, ensure_ascii=False)


@contextmanager
def refusal_suppressed(tell: Callable[[str], None] = lambda problem: None) -> Iterator[None]:
    """Suppress permanent refusals by the server, so that other collections are read.

    Calls `tell` with the problem as a sentence. Temporary errors pass through: otherwise fields
    would be missing until the next refresh.
    """
    from bson.errors import BSONError
    from pymongo.errors import OperationFailure

    try:
        yield
    except BSONError:
        tell("The collection has a document that is not valid BSON.")
    except OperationFailure as error:
        if error.code in TEMPORARY_ERRORS:
            raise
        if error.code == UNAUTHORIZED:
            tell("The user may not read this collection or view.")
        else:
            tell(f"MongoDB cannot read this collection or view (error {error.code}).")


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
