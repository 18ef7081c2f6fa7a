"""The types that describe a schema: tables, columns, keys and indexes, as the API shows them."""

from typing import TypedDict

from django.db.models import TextChoices

Key = tuple[str, str]
"""The schema and the name of a table."""


class Kind(TextChoices):
    """The kind of a table, or of something like a table."""

    TABLE = "table"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized_view"
    FOREIGN_TABLE = "foreign_table"
    COLLECTION = "collection"
    FILE = "file"


class Action(TextChoices):
    """What a foreign key does to its rows when the referred row is changed or deleted."""

    NO_ACTION = "no_action"
    RESTRICT = "restrict"
    CASCADE = "cascade"
    SET_NULL = "set_null"
    SET_DEFAULT = "set_default"


class Column(TypedDict):
    """A column; in a collection, a field of its documents."""

    name: str
    type: str
    """The type as the source spells it, such as `numeric(10,2)`."""
    common_type: str
    """A value of CommonType."""
    nullable: bool
    has_default: bool
    default_value: str | None
    """What the source fills in, as it spells it; also `GENERATED …`. None if it does not say."""
    comment: str | None


class PrimaryKey(TypedDict):
    """A primary key, its columns in the order of the key; some sources do not name it."""

    name: str | None
    columns: list[str]
    options: str | None
    """Other clauses of the definition, as the source spells them, such as `DEFERRABLE`."""


class ForeignKey(TypedDict):
    """A foreign key; `columns` and `referred_columns` correspond by position."""

    name: str | None
    columns: list[str]
    referred_schema: str | None
    referred_table: str
    referred_columns: list[str]
    on_update: str | None
    """A value of Action; None if the source does not say."""
    on_delete: str | None
    options: str | None
    """Other clauses of the definition, as the source spells them, such as `MATCH FULL`."""


class Index(TypedDict):
    """An index other than the primary key's; expressions are as the source spells them."""

    name: str
    columns: list[str]
    column_options: list[str]
    """What the definition adds to each of `columns`, as the source spells it: `DESC`, `(10)`."""
    is_unique: bool
    method: str | None
    """The kind of index in the source's words, such as `btree`; None if it has only one."""
    included_columns: list[str]
    predicate: str | None
    """The condition that a row must meet to be in the index; None for all rows."""
    options: str | None
    """Other clauses of the definition, as the source spells them: `NULLS NOT DISTINCT`."""


class Table(TypedDict):
    """A table, view, collection or file.

    Columns are in the source's order; foreign keys and indexes are sorted by name.
    """

    schema: str
    name: str
    kind: str
    """A value of Kind."""
    comment: str | None
    columns: list[Column]
    primary_key: PrimaryKey | None
    foreign_keys: list[ForeignKey]
    indexes: list[Index]
    problem: str | None
    """Why its columns could not be read, in a sentence; None if they were."""
