"""/healthz and /readyz: liveness and readiness."""

from unittest import mock

from django.db import OperationalError, connection
from django.test import Client, TestCase

from rivergen.testing.outage import without_database


class HealthTests(TestCase):
    def setUp(self) -> None:
        self.enterContext(mock.patch("rivergen.observability.health._was_migrated", False))

    def test_healthz_is_200(self):
        response = self.client.get("/healthz")
        self.assertEqual((response.status_code, response.json()), (200, {"status": "ok"}))

    def test_healthz_needs_no_database(self):
        response = without_database(lambda: Client().get("/healthz"))
        self.assertEqual(response.status_code, 200)

    def test_readyz_is_200(self):
        response = self.client.get("/readyz")
        expected = {"status": "ok", "database": "ok"}
        self.assertEqual((response.status_code, response.json()), (200, expected))

    def test_readyz_reads_the_migrations_once(self):
        self.client.get("/readyz")
        with self.assertNumQueries(1):
            self.assertEqual(self.client.get("/readyz").status_code, 200)

    def test_readyz_is_503_while_a_migration_is_missing(self):
        for app in ("organizations", "datasources", "auth"):
            with self.subTest(app=app):
                with connection.cursor() as cursor:
                    cursor.execute("DELETE FROM django_migrations WHERE app = %s", [app])
                response = self.client.get("/readyz")
                expected = {"status": "unavailable", "database": "not migrated"}
                self.assertEqual((response.status_code, response.json()), (503, expected))

    def test_readyz_is_503_while_the_database_is_unreachable(self):
        response = without_database(lambda: Client().get("/readyz"))
        expected = {"status": "unavailable", "database": "out of reach"}
        self.assertEqual((response.status_code, response.json()), (503, expected))

    def test_readyz_is_503_when_the_connection_is_lost(self):
        failure = OperationalError("server closed the connection: db.internal")
        with mock.patch("rivergen.observability.health.MigrationExecutor", side_effect=failure):
            response = self.client.get("/readyz")
        self.assertEqual(response.status_code, 503)
        self.assertNotIn("db.internal", response.content.decode())

    def test_readyz_is_200_again_after_an_outage(self):
        without_database(lambda: Client().get("/readyz"))
        self.assertEqual(self.client.get("/readyz").status_code, 200)

    def test_head_of_healthz_and_readyz_is_200_without_a_body(self):
        for path in ("/healthz", "/readyz"):
            with self.subTest(path=path):
                response = self.client.head(path)
                self.assertEqual((response.status_code, response.content), (200, b""))

    def test_healthz_and_readyz_allow_only_get_and_head(self):
        for path in ("/healthz", "/readyz"):
            for method in ("post", "put", "patch", "delete"):
                with self.subTest(path=path, method=method):
                    response = getattr(self.client, method)(path)
                    self.assertEqual(response.status_code, 405)
                    self.assertEqual(response["Allow"], "GET, HEAD")
