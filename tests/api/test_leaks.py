"""No response, log line, traceback, admin page, history or table row holds a secret."""

from base64 import b64encode
from logging import getLogger
from typing import Any
from unittest import mock
from urllib.parse import quote

from rest_framework.serializers import Serializer

from datasources.credentials.cipher import KeyRing, PlainText, Sealed
from datasources.credentials.serializers import CredentialsSerializer
from datasources.models import DataSource
from rivergen.http.serializers import StrictFieldsMixin
from rivergen.testing.routes import routes
from rivergen.testing.web_role import web_role
from tests.api.testing.leak_case import LeakTestCase


class LeakTests(LeakTestCase):
    def test_no_secret_leaks_into_responses_log_or_database(self):
        self.assertEqual(self.find_leaks(), {})
        every_route = {(method, path) for path, methods in routes() for method in methods}
        self.assertEqual(len(self.visited), len(every_route), self.visited)

    # The search itself: a leak planted on purpose is found where it was planted.

    def test_leak_search_finds_a_secret_in_a_response(self):
        def leak(serializer: Any, data_source: DataSource) -> Any:
            secrets = data_source.credentials.open()
            return {field: b64encode(text.encode()).decode() for field, text in secrets.items()}

        with mock.patch.object(CredentialsSerializer, "to_representation", leak):
            leaks = self.find_leaks()
        self.assertIn("token by put (base64)", leaks["responses"])
        self.assertEqual({*leaks}, {"responses"})

    def test_leak_search_finds_a_secret_in_a_repr(self):
        with mock.patch.object(StrictFieldsMixin, "__repr__", Serializer.__repr__):
            leaks = self.find_leaks()
        self.assertIn("not a boolean (raw or URL-encoded)", leaks["responses"])
        self.assertEqual({*leaks}, {"responses"})

    def test_leak_search_finds_a_secret_in_the_log(self):
        def log(ring: KeyRing, text: str, context: bytes) -> Sealed:
            getLogger("rivergen.anywhere").debug("%s", quote(text))
            return seal(ring, text, context)

        seal = KeyRing.seal
        with mock.patch.object(KeyRing, "seal", log):
            leaks = self.find_leaks()
        self.assertIn("token by put (raw or URL-encoded)", leaks["log"])
        self.assertEqual({*leaks}, {"log"})

    def test_leak_search_finds_a_secret_that_is_not_encrypted(self):
        def pass_through(ring: KeyRing, text: str, context: bytes) -> Sealed:
            return Sealed(ring.current_id, text.encode())

        def read(ring: KeyRing, sealed: Sealed, context: bytes) -> PlainText:
            return PlainText(bytes(sealed.ciphertext).decode())

        with mock.patch.multiple(KeyRing, seal=pass_through, open=read):
            leaks = self.find_leaks()
        self.assertIn("token by patch (hex)", leaks["database"])
        self.assertNotIn("responses", leaks)

    def test_leak_search_finds_a_secret_left_in_a_connection_string(self):
        with mock.patch.object(DataSource, "pop_secrets", return_value={}):
            leaks = self.find_leaks()
        name = "patch postgresql://me@db/x?sslmode=require&passwd={} (raw or URL-encoded)"
        for place in ("responses", "log", "database"):
            self.assertIn(name, leaks[place])


class RowLevelSecurityTests(LeakTestCase):
    def test_every_route_and_admin_page_works_as_the_restricted_role(self):
        role = self.enterContext(web_role())
        with role.handling_requests():
            self.call_every_route()
        self.assertIsNotNone(role.connection.connection)
        every_route = {(method, path) for path, methods in routes() for method in methods}
        self.assertEqual(len(self.visited), len(every_route), self.visited)
