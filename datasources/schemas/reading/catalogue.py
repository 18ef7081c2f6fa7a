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


class Column(TypedDict):
    """A column; in a collection, a field of its documents."""

    name: str
    type: str
    """The type as the source spells it, such as `numeric(10,2)`."""
    common_type: str
    """A value of CommonType."""
    nullable: bool
    has_default: bool
    comment: str | None


class PrimaryKey(TypedDict):
    """A primary key, its columns in the order of the key; some sources do not name it."""

    name: str | None
    columns: list[str]


class ForeignKey(TypedDict):
    """A foreign key; `columns` and `referred_columns` correspond by position."""

    name: str | None
    columns: list[str]
    referred_schema: str | None
    referred_table: str
    referred_columns: list[str]


class Index(TypedDict):
    """An index other than the primary key's; expressions are as the source spells them."""

    name: str
    columns: list[str]
    is_unique: bool


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
