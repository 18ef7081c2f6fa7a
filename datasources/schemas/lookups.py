"""Query parameters of the schema endpoints, and the snapshots that they name."""

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from datasources.filters import SEARCH_MAX_LENGTH
from datasources.models import DataSource
from datasources.schemas.exceptions import SchemaNotRead, SnapshotGone
from datasources.schemas.snapshots.models import SchemaSnapshot
from rivergen.http.input import read_id

TABLE_MAX_LENGTH = 1_000


def find_snapshot(request: Request, data_source: DataSource, parameter: str) -> SchemaSnapshot:
    """Return the snapshot whose number is in a query parameter; without one, the last snapshot.

    Raises ValidationError (400), SchemaNotRead and SnapshotGone (404).
    """
    snapshots = data_source.schema_snapshots.select_related("content")
    text = request.query_params.get(parameter)
    if text is not None:
        snapshots = snapshots.filter(number=read_number(parameter, text))
    snapshot = snapshots.first()
    if snapshot is not None:
        return snapshot
    if text is not None and data_source.schema_refreshed_at is not None:
        raise SnapshotGone
    raise SchemaNotRead


def find_pair(
    request: Request, data_source: DataSource
) -> tuple[SchemaSnapshot | None, SchemaSnapshot]:
    """Return the snapshots to compare: `?from=`, by default the previous, and `?to=`, the last.

    The first is None if no snapshot before `?to=` is kept. Raises what `find_snapshot` raises.
    """
    to = find_snapshot(request, data_source, "to")
    if "from" in request.query_params:
        return find_snapshot(request, data_source, "from"), to
    return to.previous(), to


def read_number(parameter: str, text: str) -> int:
    """Return the number of a snapshot. Raises ValidationError (400)."""
    if not read_id(text):
        raise ValidationError({parameter: ["Must be the number of a snapshot."]})
    return read_id(text)


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
