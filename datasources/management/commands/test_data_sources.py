"""`manage.py test_data_sources`: does it still connect?"""

from collections.abc import Collection
from uuid import UUID

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.tasks import test_connection
from datasources.jobs import Queue
from datasources.management.many import ManyDataSourcesCommand, Result
from datasources.models import DataSource

# After all that users ask for.
PRIORITY = -1_000


class Command(ManyDataSourcesCommand):
    """Have the workers test many connections."""

    help = (
        "Have the workers test the connections of all data sources, or of some, and print what "
        "came of it. Each result is the `last_test` of its data source, and sets the status. Exits "
        "with 1 if one does not connect. Example: manage.py test_data_sources --organization acme "
        "--tag production"
    )
    failed = "Do not connect"

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
        results = {test.pk: test.result() for test in tests}
        return {pk: Result(one["code"], one["message"]) for pk, one in results.items()}
