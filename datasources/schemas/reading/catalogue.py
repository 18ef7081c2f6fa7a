"""What a source has, as every reader gives it, and as clients see it."""

from typing import TypedDict

from django.db.models import TextChoices

Key = tuple[str, str]
"""The schema and the name of a table."""


class Kind(TextChoices):
    """What holds the columns."""

    TABLE = "table"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized_view"
    FOREIGN_TABLE = "foreign_table"
    COLLECTION = "collection"
    FILE = "file"


class Column(TypedDict):
    """One column; of a collection, one field of its documents."""

    name: str
    type: str
    """As the source says it, such as `numeric(10,2)`."""
    common_type: str
    """One of CommonType."""
    nullable: bool
    has_default: bool
    comment: str | None


class PrimaryKey(TypedDict):
    """The key of a table, its columns in their order; not every source names it."""

    name: str | None
    columns: list[str]


class ForeignKey(TypedDict):
    """A reference to the columns of a table, in the order of these."""

    name: str | None
    columns: list[str]
    referred_schema: str | None
    referred_table: str
    referred_columns: list[str]


class Index(TypedDict):
    """An index, apart from the one of the primary key; expressions stand as the source says."""

    name: str
    columns: list[str]
    is_unique: bool


class Table(TypedDict):
    """A table, a view, or whatever else has columns; these are in the source's order.

    Keys and indexes are in the order of their names.
    """

    schema: str
    name: str
    kind: str
    """One of Kind."""
    comment: str | None
    columns: list[Column]
    primary_key: PrimaryKey | None
    foreign_keys: list[ForeignKey]
    indexes: list[Index]
