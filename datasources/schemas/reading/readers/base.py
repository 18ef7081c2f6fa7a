"""What every reader of a catalogue gives: rows, each kind by one statement."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, ClassVar, NamedTuple

from datasources.connections.configuration import Configuration
from datasources.schemas.reading.common_types import CommonType, common_type

ROWS_AT_ONCE = 5_000


class Relation(NamedTuple):
    """A table, view, collection or file."""

    schema: str
    name: str
    kind: str
    comment: str | None = None
    row_estimate: int | None = None


class ColumnRow(NamedTuple):
    """A column; those of a table come together, in the table's order."""

    schema: str
    table: str
    name: str
    type: str
    nullable: bool
    has_default: bool
    comment: str | None = None


class KeyRow(NamedTuple):
    """A column of a primary key; those of a table come in the key's order."""

    schema: str
    table: str
    key: str | None
    column: str


class ReferenceRow(NamedTuple):
    """A column of a foreign key, which has a name or a number; those of a key come in its order."""

    schema: str
    table: str
    key: str | int
    column: str
    referred_schema: str | None
    referred_table: str
    referred_column: str


class IndexRow(NamedTuple):
    """A column or expression of an index; those of an index come in its order."""

    schema: str
    table: str
    index_name: str
    is_unique: bool
    column: str


class Reader:
    """How the catalogue of some types of sources is read; a file for each family.

    Rows may be plain tuples of the same shape. However many tables there are, a reader sends the
    same number of statements, unless the source has no catalogue that could be asked. Only
    `columns` may be too long for the memory: they are taken from it one by one. Whatever the driver
    raises passes through.
    """

    types: ClassVar[tuple[str, ...]]
    """The types of data sources that it reads."""
    common_types: Mapping[str, CommonType] = {}
    """What names of types mean here, in lower case, where it is not what they mean elsewhere."""

    def __init__(self, connection: Any, configuration: Configuration) -> None:
        self.connection = connection
        self.configuration = configuration

    def relations(self) -> Iterable[Sequence[Any]]:
        """Give all Relations but the source's own; with `schema_name`, those of that schema."""
        raise NotImplementedError

    def primary_keys(self) -> Iterable[Sequence[Any]]:
        """Give KeyRows."""
        return ()

    def foreign_keys(self) -> Iterable[Sequence[Any]]:
        """Give ReferenceRows."""
        return ()

    def indexes(self) -> Iterable[Sequence[Any]]:
        """Give IndexRows."""
        return ()

    def columns(self) -> Iterable[Sequence[Any]]:
        """Give ColumnRows."""
        raise NotImplementedError

    def has_schema(self) -> bool:
        """Whether the schema that `schema_name` names is there; asked if it has no relations."""
        return True

    def common_type(self, source_type: str) -> CommonType:
        """Say which of the common types a type of the source is."""
        return common_type(source_type, self.common_types)


class SQLReader(Reader):
    """A reader that is a statement for each kind of rows.

    `{schema}` in a statement is the parameter `schema`, as the driver spells it: `schema_name`, or
    None.
    """

    relations_sql: ClassVar[str]
    columns_sql: ClassVar[str]
    primary_keys_sql: ClassVar[str | None] = None
    foreign_keys_sql: ClassVar[str | None] = None
    indexes_sql: ClassVar[str | None] = None
    schema_sql: ClassVar[str | None] = None
    """Gives a row if there is this schema."""
    placeholder: ClassVar[str] = "%(schema)s"

    def relations(self) -> Iterable[Sequence[Any]]:
        return self.rows(self.relations_sql)

    def primary_keys(self) -> Iterable[Sequence[Any]]:
        return self.rows(self.primary_keys_sql)

    def foreign_keys(self) -> Iterable[Sequence[Any]]:
        return self.rows(self.foreign_keys_sql)

    def indexes(self) -> Iterable[Sequence[Any]]:
        return self.rows(self.indexes_sql)

    def columns(self) -> Iterable[Sequence[Any]]:
        return self.rows(self.columns_sql)

    def has_schema(self) -> bool:
        if self.schema_sql is None or self.schema is None:
            return True
        return any(True for _ in self.rows(self.schema_sql))

    @property
    def schema(self) -> str | None:
        """The schema to restrict to, if any."""
        return self.configuration.schema_name

    def rows(self, statement: str | None, *cursor_type: Any) -> Iterator[Sequence[Any]]:
        """Run a statement, and give its rows as they come; of None there are none.

        `cursor_type` is what the driver takes for a cursor that does not fetch all rows at once.
        """
        if statement is None:
            return
        with closing(self.connection.cursor(*cursor_type)) as cursor:
            self.execute(cursor, statement.replace("{schema}", self.placeholder))
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield from rows

    def execute(self, cursor: Any, statement: str) -> None:
        """Run a statement with the parameter."""
        cursor.execute(statement, {"schema": self.schema})
