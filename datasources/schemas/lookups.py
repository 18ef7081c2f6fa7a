"""What a request about a schema brings, and what it sets going."""

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from datasources.connection_tests.throttling import count_test
from datasources.filters import SEARCH_MAX_LENGTH
from datasources.models import DataSource
from datasources.schemas.exceptions import SchemaNotRead, SnapshotGone
from datasources.schemas.models import SchemaRefresh, SchemaSnapshot
from datasources.schemas.tasks import enqueue
from organizations.models import User
from rivergen.http.input import read_id

TABLE_MAX_LENGTH = 1_000


def start_refresh(data_source: DataSource, user: User) -> SchemaRefresh:
    """Give the refresh of a locked data source that runs, or start one, with the transaction.

    Raises CredentialsUnconfirmed and CredentialsUnreadable (409), and Throttled (429).
    """
    data_source.configuration()
    if data_source.schema_status == DataSource.SchemaStatus.REFRESHING:
        running: SchemaRefresh = data_source.schema_refresh
        return running
    count_test(data_source.organization_id)
    [refresh] = SchemaRefresh.objects.start([data_source], user)
    enqueue([refresh], is_urgent=True)
    return refresh


def find_snapshot(request: Request, data_source: DataSource, parameter: str) -> SchemaSnapshot:
    """Give the snapshot whose number a query parameter has; without it the last one.

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
    """Give the snapshots to compare: `?from=`, else the one before, and `?to=`, else the last one.

    Raises what `find_snapshot` raises. The first snapshot has none before it.
    """
    to = find_snapshot(request, data_source, "to")
    if "from" in request.query_params:
        return find_snapshot(request, data_source, "from"), to
    return to.previous(), to


def read_number(parameter: str, text: str) -> int:
    """Read the number of a snapshot. Raises ValidationError (400)."""
    if not read_id(text):
        raise ValidationError({parameter: ["Must be the number of a snapshot."]})
    return read_id(text)


def read_text(request: Request, parameter: str, max_length: int) -> str | None:
    """Read a query parameter that must say something. Raises ValidationError (400)."""
    text: str | None = request.query_params.get(parameter)
    if text is not None and not text.strip():
        raise ValidationError({parameter: ["Must not be empty."]})
    if text is not None and len(text) > max_length:
        raise ValidationError({parameter: [f"Must have at most {max_length:,} characters."]})
    return text


def read_table_name(request: Request) -> str | None:
    """Read `?table=`: a name, or `schema.name`."""
    return read_text(request, "table", TABLE_MAX_LENGTH)


def read_words(request: Request) -> list[str]:
    """Read `?search=`: words, all of which are looked for."""
    return (read_text(request, "search", SEARCH_MAX_LENGTH) or "").split()
