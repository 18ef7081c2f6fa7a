"""The interface of readers: rows of a catalogue, one statement for each kind of row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, ClassVar, NamedTuple

from datasources.connections.configuration import Configuration
from datasources.schemas.reading.catalogue import Key
from datasources.schemas.reading.common_types import CommonType, common_type

ROWS_AT_ONCE = 5_000
NO_COLUMNS = (
    "The source shows no columns of this table or view: it is damaged, refers to something that "
    "does not exist, or the user may not see its columns."
)


class Relation(NamedTuple):
    """A table, view, collection or file."""

    schema: str
    name: str
    kind: str
    comment: str | None = None
    row_estimate: int | None = None


class ColumnRow(NamedTuple):
    """A column; columns of one table are adjacent, in the table's order."""

    schema: str
    table: str
    name: str
    type: str
    nullable: bool
    has_default: bool
    comment: str | None = None
    default: str | None = None


class KeyRow(NamedTuple):
    """A column of a primary key; rows of one key come in the key's order."""

    schema: str
    table: str
    key: str | None
    column: str
    options: str | None = None


class ReferenceRow(NamedTuple):
    """A column of a foreign key (named or numbered); rows of one key come in the key's order."""

    schema: str
    table: str
    key: str | int
    column: str
    referred_schema: str | None
    referred_table: str
    referred_column: str
    on_update: str | None = None
    """`NO ACTION`, `CASCADE` and so on, in any case and with any separator."""
    on_delete: str | None = None
    options: str | None = None


class IndexRow(NamedTuple):
    """A column or expression of an index; rows of one index come in the index's order.

    The last four members are the same in all rows of an index.
    """

    schema: str
    table: str
    index_name: str
    is_unique: bool
    column: str
    column_option: str | None = None
    is_included: bool = False
    method: str | None = None
    predicate: str | None = None
    options: str | None = None


class Reader:
    """Reads the catalogue of a family of source types.

    Rows may be plain tuples of the same shape. A reader sends the same number of statements however
    many tables there are, unless the source has no catalogue to query. Only `columns` may be larger
    than memory, so its rows are taken one by one. Exceptions of the driver pass through.
    """

    types: ClassVar[tuple[str, ...]]
    """The types of data sources that the reader supports."""
    common_types: Mapping[str, CommonType] = {}
    """Common types of type names, in lower case, that mean something else in other sources."""

    problem_without_columns: ClassVar[str | None] = None
    """The problem of what has no columns, unless `problems` has one; None if it may have none."""

    def __init__(self, connection: Any, configuration: Configuration) -> None:
        self.connection = connection
        self.configuration = configuration
        self.problems: dict[Key, str] = {}
        """Why the columns of a table cannot be read, in a sentence; filled by `columns`."""

    def relations(self) -> Iterable[Sequence[Any]]:
        """Return Relations, without system tables; only those in `schema_name`, if set."""
        raise NotImplementedError

    def primary_keys(self) -> Iterable[Sequence[Any]]:
        """Return a KeyRow for each column of a primary key."""
        return ()

    def foreign_keys(self) -> Iterable[Sequence[Any]]:
        """Return a ReferenceRow for each column of a foreign key."""
        return ()

    def indexes(self) -> Iterable[Sequence[Any]]:
        """Return an IndexRow for each column of an index other than a primary key's."""
        return ()

    def columns(self) -> Iterable[Sequence[Any]]:
        """Return a ColumnRow for each column."""
        raise NotImplementedError

    def has_schema(self) -> bool:
        """Return whether the schema `schema_name` exists; called only if it has no relations."""
        return True

    def can_read_around(self, error: Exception) -> bool:
        """Return whether to read again, then without the definitions that caused an error."""
        return False

    def common_type(self, source_type: str) -> CommonType:
        """Return the common type of a type of the source."""
        return common_type(source_type, self.common_types)


class SQLReader(Reader):
    """A reader with an SQL statement for each kind of row.

    `{schema}` in a statement is replaced by the driver's placeholder of the parameter `schema`,
    whose value is `schema_name` or None.
    """

    relations_sql: ClassVar[str]
    columns_sql: ClassVar[str]
    primary_keys_sql: ClassVar[str | None] = None
    foreign_keys_sql: ClassVar[str | None] = None
    indexes_sql: ClassVar[str | None] = None
    schema_sql: ClassVar[str | None] = None
    """Returns a row if the schema exists."""
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
        """The schema to read; None for all schemas."""
        return self.configuration.schema_name

    def rows(self, statement: str | None, *cursor_type: Any) -> Iterator[Sequence[Any]]:
        """Run a statement and yield its rows in batches; no rows for None.

        `cursor_type` is the driver's argument for a cursor that does not fetch all rows at once.
        """
        if statement is None:
            return
        with closing(self.connection.cursor(*cursor_type)) as cursor:
            self.execute(cursor, statement.replace("{schema}", self.placeholder))
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield from rows

    def execute(self, cursor: Any, statement: str) -> None:
        """Run a statement with the parameter `schema`."""
        cursor.execute(statement, {"schema": self.schema})
