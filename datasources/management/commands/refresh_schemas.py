"""`manage.py refresh_schemas`: what is in it today?"""

from collections.abc import Collection
from uuid import UUID

from datasources.management.many import ManyDataSourcesCommand, Result
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.tasks import enqueue


class Command(ManyDataSourcesCommand):
    """Have the workers read many schemas."""

    help = (
        "Have the workers read the schemas of all data sources, or of some, and print what came of "
        "it. One that is being read is waited for. Exits with 1 if one could not be read. Example: "
        "manage.py refresh_schemas --organization acme --status active"
    )
    failed = "Could not be read"

    def start(self, data_source: DataSource) -> UUID:
        data_source.configuration()
        if data_source.schema_status == DataSource.SchemaStatus.REFRESHING:
            return data_source.schema_refresh.refresh_id
        [refresh] = SchemaRefresh.objects.start([data_source])
        enqueue([refresh])
        return refresh.refresh_id

    def running(self, ids: Collection[UUID]) -> set[UUID]:
        refreshes = SchemaRefresh.objects.running().filter(refresh_id__in=ids)
        return {*refreshes.values_list("refresh_id", flat=True)}

    def results(self, ids: Collection[UUID]) -> dict[UUID, Result]:
        return {
            refresh.refresh_id: Result(str(refresh.code), message_of(refresh))
            for refresh in SchemaRefresh.objects.filter(refresh_id__in=ids)
        }


def message_of(refresh: SchemaRefresh) -> str:
    """Say how many tables there are, or why that is not known."""
    return f"Tables: {refresh.tables_total}." if refresh.ok else str(refresh.message)
