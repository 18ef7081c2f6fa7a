"""Tests of the rate limit of tests and refreshes, which all web processes share."""

from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from threading import Barrier
from unittest import mock

from django.test import TransactionTestCase
from procrastinate.contrib.django.models import ProcrastinateJob

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.throttling import ConnectionTestThrottle
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.testing import DataSourceTestMixin
from organizations.models import Organization, User
from organizations.sign_in.models import RequestCount
from organizations.testing import bearer
from rivergen.testing.gunicorn import gunicorn

LIMIT = 10
# Each data source is tested and refreshed once.
SOURCES = 15
TIMEOUT_SECONDS = 60
ACTIONS = ("test", "schema/refresh")


class SharedRateLimitTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def make_sources(self, organization: Organization) -> list[int]:
        workspace = organization.workspaces.get()
        sources = [
            DataSource(workspace=workspace, name=f"Lake {number}", type="csv", file_path="a.csv")
            for number in range(SOURCES)
        ]
        return [source.pk for source in DataSource.objects.bulk_create(sources)]

    def post(self, user: User, source: int, action: str) -> HTTPResponse:
        http = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        path = f"/api/v1/data-sources/{source}/{action}"
        http.request("POST", path, headers={"Authorization": bearer(user)})
        response = http.getresponse()
        response.read()
        http.close()
        return response

    def post_all_at_once(self, user: User, sources: list[int]) -> list[HTTPResponse]:
        """Return the responses to a test and a refresh of each source, all sent at once."""
        requests = [(source, action) for source in sources for action in ACTIONS]
        start = Barrier(len(requests), timeout=TIMEOUT_SECONDS)

        def post(request: tuple[int, str]) -> HTTPResponse:
            start.wait()
            return self.post(user, *request)

        with ThreadPoolExecutor(len(requests)) as pool:
            return [*pool.map(post, requests)]

    def test_concurrent_tests_and_refreshes_share_one_exact_limit(self):
        of_acme, of_globex = self.make_sources(self.acme), self.make_sources(self.globex)
        # A window of a day does not end while the test runs.
        with gunicorn(RATE_LIMIT_TEST=f"{LIMIT}/day") as (_, self.port):
            answers = self.post_all_at_once(self.editor, of_acme)
            other = self.post(self.stranger, of_globex[0], "test")
        statuses = [answer.status for answer in answers]
        self.assertEqual(statuses.count(202), LIMIT)
        self.assertEqual(statuses.count(429), 2 * SOURCES - LIMIT)
        for answer in answers:
            if answer.status == 429:
                self.assertGreater(int(answer.headers["Retry-After"]), 0)
        self.assertEqual(other.status, 202)
        started = ConnectionTest.objects.filter(organization=self.acme).count()
        started += SchemaRefresh.objects.filter(data_source__organization=self.acme).count()
        self.assertEqual(started, LIMIT)
        self.assertEqual(ProcrastinateJob.objects.filter(status="todo").count(), LIMIT + 1)
        # Refused requests are not counted.
        counted = RequestCount.objects.filter(kind="test").values_list("caller", "requests")
        self.assertEqual({*counted}, {(str(self.acme.pk), LIMIT), (str(self.globex.pk), 1)})

    def test_replayed_answers_are_not_counted(self):
        [source, *_] = self.make_sources(self.acme)
        with mock.patch.multiple(ConnectionTestThrottle, limit=2, seconds=86_400):
            for key, status in (("a", 202), ("a", 202), ("b", 202), ("b", 202), ("c", 429)):
                headers = {"Idempotency-Key": key}
                path = f"/data-sources/{source}/test"
                response = self.call("post", path, user=self.editor, headers=headers)
                self.assertEqual(response.status_code, status)
