"""Tests that a stored secret never reaches a destination that was moved without confirmation.

The destination is a server of an attacker, who can edit the data source (contract, section 4a).
"""

import json
from itertools import count

from django.db import connection, transaction
from django.test import override_settings

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.testing import HOST_KEY, PATIENCE_SECONDS, WorkerTestCase
from datasources.connection_tests.waiting import wait_for
from datasources.connections.failures import ConnectionFailure
from datasources.connections.testing import fake_postgresql
from datasources.connections.testing.fake_postgresql import FakePostgreSQL, md5_answer
from datasources.connections.testing.listeners import Listener, keep_silent
from datasources.credentials.exceptions import CredentialsUnconfirmed, CredentialsUnreadable
from datasources.models import DESTINATION_FIELDS, SSH_SERVER_FIELDS, DataSource
from rivergen.egress.rules import parse_rules
from rivergen.http.input import entity_tag
from rivergen.testing.services import free_port

USERNAME = "reader"
CANARY = "canary-of-the-owner"
SSH_CANARY = "canary-of-the-tunnel"
ADDRESS = "127.0.0.1"
ELSEWHERE = "db.example.com"

numbers = count()


def url(host, port, query="?sslmode=disable"):
    return f"postgresql://{host}:{port}/shop{query}"


def moves_to(port):
    """Map the name of a change to the settings of a source before it, and to the change itself.

    The change moves the source to `port` on this machine.
    """
    here, far = {"host": ADDRESS, "port": port}, {"host": ELSEWHERE, "port": free_port()}
    tunnel = {"use_ssh_tunnel": True, "ssh_host": "bastion.example.com", "ssh_username": "t"}
    return {
        "host": (far | {"port": port}, {"host": ADDRESS}),
        "port": (here | {"port": free_port()}, {"port": port}),
        "host and port": (far, here),
        "use_ssh_tunnel": (here | tunnel, {"use_ssh_tunnel": False}),
        "a connection string": (far, {"connection_string": url(ADDRESS, port)}),
        "no connection string": (
            here | {"connection_string": url(ELSEWHERE, 5432)},
            {"connection_string": None},
        ),
        "its host": (
            far | {"connection_string": url(ELSEWHERE, port)},
            {"connection_string": url(ADDRESS, port)},
        ),
        "its port": (
            far | {"connection_string": url(ADDRESS, free_port())},
            {"connection_string": url(ADDRESS, port)},
        ),
        "no port in it": (
            far | {"port": port, "connection_string": url(ADDRESS, free_port())},
            {"connection_string": f"postgresql://{ADDRESS}/shop"},
        ),
        "its option": (
            far | {"connection_string": url(ADDRESS, port, query="?sslmode=require")},
            {"connection_string": url(ADDRESS, port)},
        ),
        "no option": (
            far | {"connection_string": url(ADDRESS, port, query="?sslmode=require")},
            {"connection_string": url(ADDRESS, port, query="")},
        ),
    }


def tunnel_moves_to(port):
    """Like `moves_to`, for a source with a tunnel: the change moves the SSH server to `port`."""
    here = {"use_ssh_tunnel": True, "ssh_host": ADDRESS, "ssh_port": port, "ssh_username": "tunnel"}
    return {
        "use_ssh_tunnel": (here | {"use_ssh_tunnel": False}, {"use_ssh_tunnel": True}),
        "ssh_host": (here | {"ssh_host": "bastion.example.com"}, {"ssh_host": ADDRESS}),
        "ssh_port": (here | {"ssh_port": 22}, {"ssh_port": port}),
        "ssh_username": (here, {"ssh_username": "other"}),
        "ssh_local_port": (here, {"ssh_local_port": free_port()}),
        "host": (here, {"host": "other.example.com"}),
    }


class MovedDestinationTestCase(WorkerTestCase):
    def setUp(self):
        super().setUp()
        self.enterContext(override_settings(EGRESS_ALLOW=parse_rules("127.0.0.0/8")))

    def make_source(self, settings, **secrets):
        """Return a new data source, with secrets that the owner confirmed for its destination."""
        source = DataSource.objects.create(
            workspace=self.workspace,
            name=f"Source {next(numbers)}",
            type="postgresql",
            **{
                "host": ELSEWHERE,
                "port": 5432,
                "database_name": "shop",
                "connection_timeout": 5,
                **settings,
            },
            created_by=self.owner,
        )
        credentials = {"username": USERNAME, "password": CANARY, **secrets}
        source.set_credentials(credentials, user=self.owner)
        return source

    def path_of(self, source):
        return f"/data-sources/{source.pk}"

    def fetch(self, source):
        return DataSource.objects.get(pk=source.pk)

    def patch(self, source, change, user):
        response = self.call("patch", self.path_of(source), change, user)
        self.assertEqual(response.status_code, 200, response.content)

    def outcome_of(self, source, user=None):
        return self.run_test(self.path_of(source), user=user)

    def assert_refused_before_the_move(self, source, change):
        """Assert that requests which move a source and connect at once are refused."""
        before = DataSource.objects.filter(pk=source.pk).values().get()
        path = f"{self.path_of(source)}?verify=true"
        self.assert_unconfirmed(self.call("patch", path, change, self.editor))
        draft = {"based_on": source.pk, **change}
        self.assert_unconfirmed(self.call("post", "/data-sources/test?wait=30", draft, self.editor))
        self.assertEqual(DataSource.objects.filter(pk=source.pk).values().get(), before)

    def assert_refused(self, source, code="CREDENTIALS_UNCONFIRMED"):
        """Assert that no request connects a source, not even an admin's without confirmation."""
        path = self.path_of(source)
        for user in (self.editor, self.admin):
            for request in (
                ("post", f"{path}/test?wait=30", None),
                ("post", "/data-sources/test?wait=30", {"based_on": source.pk}),
                ("patch", f"{path}?verify=true", {"description": "Other"}),
            ):
                self.assert_error(self.call(*request, user), 409, code)
        refusals = (CredentialsUnconfirmed, CredentialsUnreadable)
        with self.assertRaises(refusals) as raised, self.fetch(source).connect():
            self.fail("it is connected")
        self.assertEqual(raised.exception.code, code)

    def assert_unconfirmed(self, response):
        self.assert_error(response, 409, "CREDENTIALS_UNCONFIRMED")


class MovedSourceTests(MovedDestinationTestCase):
    def setUp(self):
        super().setUp()
        self.server = self.enterContext(FakePostgreSQL(fake_postgresql.MD5))
        self.moves = moves_to(self.server.port)

    def assert_got_nothing(self):
        self.assertEqual(self.server.received, [])

    def assert_got(self, *passwords):
        answers = [md5_answer(USERNAME, password) for password in passwords]
        self.assertEqual(self.server.answers, answers)

    def test_cases_cover_every_field_of_the_destination(self):
        moves = self.moves | tunnel_moves_to(1)
        tried = {field for _, change in moves.values() for field in change}
        untouchable = {"type", "ssh_host_key"}
        self.assertEqual(tried, {*DESTINATION_FIELDS, "connection_string"} - untouchable)

    def test_server_gets_no_password_after_an_editor_moves_a_source_to_it(self):
        for part, (settings, change) in self.moves.items():
            with self.subTest(part=part):
                source = self.make_source(settings)
                self.assert_refused_before_the_move(source, change)
                self.patch(source, change, self.editor)
                self.assert_refused(source)
                self.assert_got_nothing()

    def test_server_gets_the_password_after_an_admin_moves_a_source_to_it(self):
        """The control experiment: every move really leads to the server."""
        for part, (settings, change) in self.moves.items():
            with self.subTest(part=part):
                self.server.answers.clear()
                self.server.received.clear()
                source = self.make_source(settings)
                self.patch(source, change, self.admin)
                self.assertEqual(self.outcome_of(source)["code"], "PROTOCOL_FAILED")
                self.assert_got(CANARY)

    def test_every_way_of_connecting_sends_the_password_for_an_admin(self):
        """The control experiment: each way of connecting really connects."""
        settings, change = self.moves["host and port"]
        source = self.make_source(settings)
        path = f"{self.path_of(source)}?verify=true"
        refused = self.call("patch", path, change, self.admin)
        self.assertEqual(refused.json()["error"]["details"]["code"], ["PROTOCOL_FAILED"])
        self.assert_got(CANARY)
        draft = {"based_on": source.pk, **change}
        response = self.call("post", "/data-sources/test?wait=30", draft, self.admin)
        self.assertEqual(response.json()["data"]["code"], "PROTOCOL_FAILED")
        self.assert_got(CANARY, CANARY)
        self.patch(source, change, self.admin)
        with self.assertRaises(ConnectionFailure), self.fetch(source).connect():
            self.fail("it is connected")
        self.assert_got(CANARY, CANARY, CANARY)

    def test_server_gets_only_the_password_that_an_editor_enters_after_the_move(self):
        settings, change = self.moves["host and port"]
        source = self.make_source(settings)
        self.patch(source, change, self.editor)
        credentials = {"password": "entered-by-editor"}
        path = f"{self.path_of(source)}/credentials"
        response = self.call("patch", path, credentials, self.editor)
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(self.outcome_of(source)["code"], "PROTOCOL_FAILED")
        self.assert_got("entered-by-editor")
        other = self.make_source(settings)
        draft = {"based_on": other.pk, "credentials": credentials, **change}
        self.call("post", "/data-sources/test?wait=30", draft, self.editor)
        self.assert_got("entered-by-editor", "entered-by-editor")
        self.assertNotIn(md5_answer(USERNAME, CANARY), self.server.answers)

    def test_server_gets_no_password_after_moves_back_and_forth_or_a_restore(self):
        settings, change = self.moves["host and port"]
        source = self.make_source(settings)
        self.patch(source, change, self.editor)
        moved_version = self.fetch(source).version
        self.patch(source, {name: settings[name] for name in change}, self.editor)
        self.assert_refused(source)
        path = f"{self.path_of(source)}/history/{moved_version}/restore"
        self.assertEqual(self.call("post", path, user=self.admin).status_code, 200)
        self.assert_refused(source)
        self.assert_got_nothing()

    def test_server_gets_no_password_by_md5_or_scram_authentication(self):
        for request in (fake_postgresql.MD5, fake_postgresql.SCRAM):
            with self.subTest(request=request), FakePostgreSQL(request) as server:
                settings, change = moves_to(server.port)["host and port"]
                source = self.make_source(settings)
                self.assert_refused_before_the_move(source, change)
                self.patch(source, change, self.editor)
                self.assert_refused(source)
                self.assertEqual(server.received, [])
                confirmation = f"{self.path_of(source)}/credentials/confirm"
                version = DataSource.objects.get(pk=source.pk).version
                headers = {"If-Match": entity_tag(version)}
                response = self.call("post", confirmation, user=self.admin, headers=headers)
                self.assertEqual(response.status_code, 200, response.content)
                self.outcome_of(source)
                self.assertEqual(len(server.answers), 1)
                self.assertNotIn(CANARY.encode(), server.bytes_received)
                if request == fake_postgresql.MD5:
                    self.assertEqual(server.answers, [md5_answer(USERNAME, CANARY)])

    def test_server_gets_no_password_after_the_data_source_was_moved_by_sql(self):
        columns = {
            "host": (ADDRESS, self.server.port),
            "port": (ADDRESS, self.server.port),
            "connection_string": (ELSEWHERE, 5432),
        }
        for column, (host, port) in columns.items():
            with self.subTest(column=column):
                before = {"host": ELSEWHERE, "port": port, "connection_string": None}
                if column == "port":
                    before |= {"host": host, "port": free_port()}
                source = self.make_source(before)
                after = {
                    "host": ADDRESS,
                    "port": self.server.port,
                    "connection_string": url(ADDRESS, self.server.port),
                }
                self.run_sql("data_source", f"{column} = %s", after[column], f"id = {source.pk}")
                self.assert_refused(source)
                self.assert_got_nothing()
                # The secret is not sent even if its row is changed to match.
                change = "is_confirmed = true, destination = %s"
                where = f"data_source_id = {source.pk}"
                self.run_sql("credential", change, self.fetch(source).destination, where)
                self.assert_refused(source, "CREDENTIALS_UNREADABLE")
                self.assert_got_nothing()

    def test_server_gets_no_password_after_the_connection_test_was_moved_by_sql(self):
        changes = {
            "host": {"host": ADDRESS},
            "host and port": {"host": ADDRESS, "port": self.server.port},
            "options": {"host": ADDRESS, "options": {"sslmode": "disable"}},
        }
        for part, change in changes.items():
            with self.subTest(part=part):
                source = self.make_source({"port": self.server.port})
                with transaction.atomic():  # the job starts with the commit
                    path = f"{self.path_of(source)}/test"
                    response = self.call("post", path, user=self.editor)
                    self.assertEqual(response.status_code, 202, response.content)
                    test = ConnectionTest.objects.get(pk=response.json()["data"]["test_id"])
                    where = f"id = '{test.pk}'"
                    merged = "configuration = configuration || %s::jsonb"
                    self.run_sql("connection_test", merged, json.dumps(change), where)
                wait_for(test, PATIENCE_SECONDS)
                self.assertEqual(test.result()["code"], "CREDENTIALS_UNREADABLE")
                self.assert_got_nothing()

    def run_sql(self, table, change, value, where):
        model = {
            "data_source": DataSource,
            "credential": DataSource.credentials.rel.related_model,
            "connection_test": ConnectionTest,
        }[table]
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {model._meta.db_table} SET {change} WHERE {where}", [value])
            self.assertEqual(cursor.rowcount, 1)


class MovedTunnelTests(MovedDestinationTestCase):
    def setUp(self):
        super().setUp()
        self.server = self.enterContext(Listener(keep_silent))
        self.moves = tunnel_moves_to(self.server.port)

    def make_source_with_tunnel(self, settings):
        source = self.make_source(settings, ssh_password=SSH_CANARY)
        presented = {"key": HOST_KEY, "fingerprint": "SHA256:x"}
        result = {"ok": False, "version": source.version, "ssh_host_key": presented}
        DataSource.objects.filter(pk=source.pk).record_test(result, version=source.version)
        source = self.fetch(source)
        source.confirm_ssh_host_key(user=self.owner)
        return source

    def test_ssh_server_gets_no_secret_after_an_editor_moves_the_tunnel_to_it(self):
        for part, (settings, change) in self.moves.items():
            with self.subTest(part=part):
                source = self.make_source_with_tunnel(settings)
                self.assertEqual(self.fetch(source).credentials.open()["ssh_password"], SSH_CANARY)
                self.assert_refused_before_the_move(source, change)
                self.patch(source, change, self.editor)
                is_other_server = not change.keys().isdisjoint(SSH_SERVER_FIELDS)
                expected = None if is_other_server else HOST_KEY
                self.assertEqual(self.fetch(source).ssh_host_key, expected)
                self.assert_refused(source)
                self.assertEqual(self.server.received, [])

    def test_ssh_server_gets_no_secret_after_an_admin_moves_the_tunnel_to_it(self):
        """The control experiment: the server is reached, but its host key is unconfirmed."""
        settings, change = self.moves["ssh_host"]
        source = self.make_source_with_tunnel(settings | {"connection_timeout": 5})
        self.patch(source, change, self.admin)
        self.assertIsNone(self.fetch(source).ssh_host_key)
        self.assertFalse(self.outcome_of(source)["ok"])
        received = b"".join(self.server.received)
        self.assertTrue(received.startswith(b"SSH-2.0-"), received)
        self.assertNotIn(SSH_CANARY.encode(), received)
