"""Query parameters of the schema endpoints, and the snapshots that they name."""

from collections.abc import Mapping

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from datasources.filters import SEARCH_MAX_LENGTH
from datasources.models import DataSource
from datasources.schemas.exceptions import SchemaNotRead, SnapshotGone
from datasources.schemas.snapshots.models import SchemaSnapshot

TABLE_MAX_LENGTH = 1_000


def find_snapshot(data_source: DataSource, number: int | None) -> SchemaSnapshot:
    """Return the snapshot with this number, by default the last. Raises SchemaNotRead (404).

    Raises SnapshotGone (404) for a number that is not kept.
    """
    snapshots = data_source.schema_snapshots.select_related("content")
    if number is not None:
        snapshots = snapshots.filter(number=number)
    snapshot = snapshots.first()
    if snapshot is not None:
        return snapshot
    if number is not None and data_source.schema_refreshed_at is not None:
        raise SnapshotGone
    raise SchemaNotRead


def find_pair(
    data_source: DataSource, numbers: Mapping[str, int]
) -> tuple[SchemaSnapshot | None, SchemaSnapshot]:
    """Return the snapshots to compare: `from`, by default the previous, and `to`, the last.

    The first is None if no snapshot before `to` is kept. Raises what `find_snapshot` raises.
    """
    to = find_snapshot(data_source, numbers.get("to"))
    if "from" in numbers:
        return find_snapshot(data_source, numbers["from"]), to
    return to.previous(), to


def read_text(request: Request, parameter: str, max_length: int) -> str | None:
    """Return a query parameter, which must not be blank. Raises ValidationError (400)."""
    text: str | None = request.query_params.get(parameter)
    if text is not None and not text.strip():
        raise ValidationError({parameter: ["Must not be empty."]})
    if text is not None and len(text) > max_length:
        raise ValidationError({parameter: [f"Must have at most {max_length:,} characters."]})
    return text


def read_table_name(request: Request) -> str | None:
    """Return `?table=`: the name of a table, or `schema.name`."""
    return read_text(request, "table", TABLE_MAX_LENGTH)


def read_words(request: Request) -> list[str]:
    """Return the words of `?search=`."""
    return (read_text(request, "search", SEARCH_MAX_LENGTH) or "").split()
