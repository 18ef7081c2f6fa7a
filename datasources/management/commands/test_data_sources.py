"""`manage.py test_data_sources`: test the connections of many data sources."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.tasks import test_connection
from datasources.jobs import Queue
from datasources.management.many import ManyDataSourcesCommand, Result
from datasources.models import DataSource

# The priority is lower than that of all tests that users request.
PRIORITY = -1_000


class Command(ManyDataSourcesCommand):
    """Enqueue a connection test of each data source, and print the results."""

    help = (
        "Let the workers test the connections of all data sources, or of the selected ones, and "
        "print the results. Each result is stored as the `last_test` of its data source, and sets "
        "its status. Exits with 1 if one fails. Example: manage.py test_data_sources "
        "--organization acme --tag production"
    )
    failure = "Failed to connect"

    def start(self, data_source: DataSource) -> UUID:
        test = ConnectionTest.objects.request(
            data_source.configuration(), of=data_source, is_stored=True
        )
        job = test_connection.configure(queue=Queue.TESTS, priority=PRIORITY)
        job.defer(test_id=str(test.pk))
        return test.pk

    def running(self, ids: Collection[UUID]) -> set[UUID]:
        tests = ConnectionTest.objects.running().filter(pk__in=ids)
        return {*tests.values_list("pk", flat=True)}

    def results(self, ids: Collection[UUID]) -> dict[UUID, Result]:
        tests = ConnectionTest.objects.filter(pk__in=ids)
        return {test.pk: Result(*describe(test.result())) for test in tests}


def describe(result: dict[str, Any]) -> tuple[str, str]:
    """Return the code of a result, and its message with the codes of its warnings."""
    codes = ", ".join(warning["code"] for warning in result["warnings"])
    warnings = f" Warnings: {codes}." if codes else ""
    return result["code"], result["message"] + warnings
