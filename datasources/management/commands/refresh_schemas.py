"""`manage.py refresh_schemas`: refresh the schemas of many data sources."""

from collections.abc import Collection
from uuid import UUID

from datasources.management.many import ManyDataSourcesCommand, Result
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.tasks import enqueue


class Command(ManyDataSourcesCommand):
    """Enqueue a schema refresh of each data source, and print the results."""

    help = (
        "Let the workers refresh the schemas of all data sources, or of the selected ones, and "
        "print the results. Waits for refreshes that are already running. Exits with 1 if one "
        "fails. Example: manage.py refresh_schemas --organization acme --status active"
    )
    failure = "Failed to refresh"

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
    """Return the number of tables with the codes of warnings, or why the refresh failed."""
    if not refresh.ok:
        return str(refresh.message)
    warnings = f" Warnings: {', '.join(refresh.warnings)}." if refresh.warnings else ""
    return f"Tables: {refresh.tables_total}.{warnings}"
