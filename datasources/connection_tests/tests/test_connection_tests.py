"""Connection tests over HTTP, run by a real worker against a real server."""

import base64
import json
from unittest import mock

import time_machine
from procrastinate.contrib.django.models import ProcrastinateJob

from datasources.connection_tests import views, waiting
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.tasks import delete_old_tests
from datasources.connection_tests.testing import WorkerTestCase
from datasources.connection_tests.throttling import ConnectionTestThrottle
from datasources.connections.configuration import Configuration
from datasources.connections.outcome import no_outcome
from datasources.connections.ssh.host_keys import fingerprint
from datasources.connections.stages import stage
from datasources.connections.testing.postgresql import (
    DATABASE,
    PASSWORD,
    USERNAME,
    PostgreSQLServer,
)
from datasources.credentials.cipher import UnreadableError
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase

CREDENTIALS = {"username": USERNAME, "password": PASSWORD}


class LiveTests(WorkerTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.enterClassContext(PostgreSQLServer())
        cls.destination = {"host": "127.0.0.1", "port": cls.server.port, "database_name": DATABASE}

    def setUp(self):
        super().setUp()
        self.data_source.apply_changes(self.destination, user=self.owner)
        self.data_source.set_credentials(CREDENTIALS, user=self.owner)

    def test_a_source_that_connects_is_active(self):
        before = self.stored()
        result = self.run_test()
        self.assertEqual((result["ok"], result["code"]), (True, "OK"))
        self.assertRegex(result["server_version"], r"^PostgreSQL \d+")
        stages = [stage["stage"] for stage in result["stages"]]
        self.assertEqual(stages, ["policy", "dns", "tcp", "login", "query"])
        self.assertTrue(all(stage["milliseconds"] >= 0 for stage in result["stages"]))
        shown = self.shown()
        self.assertEqual((shown["status"], shown["last_test"]), ("active", result))
        changed = {name for name, value in self.stored().items() if value != before[name]}
        self.assertEqual(changed, {"last_test"})

    def test_a_source_that_does_not_is_in_error_until_it_does(self):
        self.data_source.set_credentials({"password": "wrong"}, user=self.owner)
        result = self.run_test()
        self.assertEqual((result["ok"], result["code"]), (False, "LOGIN_FAILED"))
        self.assertIn("username", result["message"])
        self.assertEqual(self.shown()["status"], "error")
        self.data_source.set_credentials(CREDENTIALS, user=self.owner)
        self.run_test()
        self.assertEqual(self.shown()["status"], "active")

    def test_secrets_are_removed_when_the_test_has_run(self):
        result = self.run_test()
        test = ConnectionTest.objects.get(pk=result["test_id"])
        self.assertEqual((test.configuration, bytes(test.ciphertext), test.key_id), ({}, b"", ""))

    def test_the_result_is_where_the_answer_says(self):
        response = self.call("post", f"{self.path}/test", user=self.editor)
        self.assertEqual(response.status_code, 202)
        pending = response.json()["data"]
        self.assertEqual((pending["ok"], pending["code"], pending["stages"]), (None, None, []))
        waiting.wait_for(ConnectionTest.objects.get(pk=pending["test_id"]), 30)
        path = response["Location"].removeprefix("/api/v1")
        response = self.call("get", path, user=self.viewer)
        self.assertEqual(response.status_code, 200)
        self.assertTrue(response.json()["data"]["ok"])

    def test_a_draft_is_tested_and_not_stored(self):
        draft = {"type": "postgresql", **self.destination, "credentials": CREDENTIALS}
        url = f"postgresql://{USERNAME}@127.0.0.1:{self.server.port}/{DATABASE}"
        in_the_string = {"type": "postgresql", "connection_string": url}
        count = DataSource.objects.count()
        for body in (draft, {**in_the_string, "credentials": {"password": PASSWORD}}):
            with self.subTest(body=body):
                result = self.run_test("/data-sources", body)
                self.assertEqual(result["code"], "OK")
                self.assertIsNone(result["data_source_id"])
        self.assertEqual(DataSource.objects.count(), count)
        self.assertIsNone(self.shown()["last_test"])

    def test_a_draft_starts_from_what_is_stored(self):
        basis = {"based_on": self.data_source.pk}
        for changes, code in (
            ({}, "OK"),
            ({"database_name": "nowhere"}, "DATABASE_MISSING"),
            ({"credentials": {"password": "wrong"}}, "LOGIN_FAILED"),
            ({"credentials": {"password": None}}, "CREDENTIALS_UNSET"),
        ):
            with self.subTest(changes=changes):
                result = self.run_test("/data-sources", {**basis, **changes})
                self.assertEqual(result["code"], code)
        self.assertEqual(self.run_test()["code"], "OK")

    def test_a_draft_sends_stored_secrets_elsewhere_for_admins_only(self):
        before = self.stored()
        moved = {"based_on": self.data_source.pk, "connection_timeout": 29, "ssh_local_port": 9000}
        response = self.call("post", "/data-sources/test?wait=30", moved, self.editor)
        self.assert_error(response, 409, "CREDENTIALS_UNCONFIRMED")
        result = self.run_test("/data-sources", {**moved, "credentials": CREDENTIALS})
        self.assertEqual(result["code"], "OK")
        self.assertEqual(self.run_test("/data-sources", moved, self.admin)["code"], "OK")
        self.assertEqual(self.stored(), before)
        self.assertEqual(self.run_test()["code"], "OK")

    # PATCH …?verify=true

    def verify(self, changes, user=None, **options):
        path = f"{self.path}?verify=true"
        return self.call("patch", path, changes, user or self.editor, **options)

    def test_an_update_that_connects_is_stored_as_tested(self):
        response = self.verify({"connection_pool_size": 7, "description": "New"})
        self.assertEqual(response.status_code, 200, response.content)
        shown = response.json()["data"]
        self.assertEqual((shown["connection_pool_size"], shown["status"]), (7, "active"))
        self.assertEqual(shown["last_test"]["code"], "OK")
        self.assertEqual(shown["last_test"]["version"], shown["version"])
        self.assertEqual(shown["last_test"]["data_source_id"], self.data_source.pk)
        self.assertEqual(shown, self.shown())

    def test_an_update_that_does_not_connect_is_not_stored(self):
        before = self.stored()
        response = self.verify({"database_name": "nowhere", "description": "New"})
        names = ("code", "stages", "test_id")
        error = self.assert_error(response, 422, "CONNECTION_FAILED", *names)
        self.assertIn("database_name", error["message"])
        details = error["details"]
        self.assertEqual(details["code"], ["DATABASE_MISSING"])
        self.assertRegex(details["stages"][-1], r"^login: failed after [\d.]+ ms$")
        response = self.call("get", f"/connection-tests/{details['test_id'][0]}", user=self.viewer)
        self.assertEqual(response.json()["data"]["code"], "DATABASE_MISSING")
        self.assertEqual(self.stored(), before)

    def test_an_unconfirmed_move_is_neither_tested_nor_stored(self):
        before = self.stored()
        response = self.verify({"ssh_local_port": 9000})
        self.assert_error(response, 409, "CREDENTIALS_UNCONFIRMED")
        self.assertEqual(self.stored(), before)
        self.assertEqual(self.verify({"ssh_local_port": 9000}, self.admin).status_code, 200)

    def test_a_dry_run_is_tested_and_not_stored(self):
        before = self.stored()
        path = f"{self.path}?verify=true&dry_run=true"
        response = self.call("patch", path, {"connection_pool_size": 7}, self.editor)
        self.assertEqual(response.json()["changes"], {"connection_pool_size": {"from": 5, "to": 7}})
        response = self.call("patch", path, {"database_name": "nowhere"}, self.editor)
        self.assertEqual(response.status_code, 422)
        self.assertEqual(self.stored(), before)

    def test_stores_nothing_if_what_was_tested_is_overtaken(self):
        def change_meanwhile(test, seconds):
            other = DataSource.objects.get(pk=self.data_source.pk)
            other.apply_changes({"query_timeout": 9}, user=self.admin)
            waiting.wait_for(test, seconds)

        with mock.patch("datasources.connection_tests.verification.wait_for", change_meanwhile):
            response = self.verify({"connection_pool_size": 7})
        self.assert_error(response, 409, "CONFLICT")
        self.assertEqual(self.stored()["connection_pool_size"], 5)

    def test_does_not_mind_other_changes_meanwhile(self):
        def rename_meanwhile(test, seconds):
            other = DataSource.objects.get(pk=self.data_source.pk)
            other.apply_changes({"name": "Renamed"}, user=self.admin)
            waiting.wait_for(test, seconds)

        with mock.patch("datasources.connection_tests.verification.wait_for", rename_meanwhile):
            response = self.verify({"connection_pool_size": 7})
        shown = response.json()["data"]
        self.assertEqual((shown["name"], shown["connection_pool_size"]), ("Renamed", 7))


class ConnectionTestTests(DataSourceTestCase):
    """What needs no worker."""

    def ask(self, body=None, user=None, path=None, query=""):
        target = f"{path or self.path}/test{query}"
        return self.call("post", target, body, user or self.editor)

    def test_waits_no_longer_than_asked(self):
        with mock.patch.object(views, "wait_for") as wait_for:
            self.assertEqual(self.ask().status_code, 202)
            wait_for.assert_not_called()
            self.assertEqual(self.ask(query="?wait=7").status_code, 202)
        self.assertEqual(wait_for.call_args.args[1], 7)
        for wait in ("31", "-1", "1.5", "x", "", "１"):
            with self.subTest(wait=wait):
                self.assert_error(self.ask(query=f"?wait={wait}"), 400, "BAD_REQUEST", "wait")
        self.assertEqual(ConnectionTest.objects.count(), 2)

    def test_whoever_finds_no_place_to_wait_does_not(self):
        with mock.patch.object(views, "wait_for") as wait_for, self.all_places_taken():
            self.assertEqual(self.ask(query="?wait=30").status_code, 202)
            wait_for.assert_not_called()
            path = f"{self.path}?verify=true"
            response = self.call("patch", path, {"description": "New"}, self.editor)
            self.assert_error(response, 429, "TOO_MANY_REQUESTS")
            self.assertEqual(response["Retry-After"], "1")
            for user, status in ((self.viewer, 403), (self.stranger, 404)):
                response = self.call("patch", path, {"description": "New"}, user)
                self.assertEqual(response.status_code, status)
        self.assertEqual(self.stored()["description"], "")

    def all_places_taken(self):
        places = mock.Mock(**{"acquire.return_value": False})
        return mock.patch.object(waiting, "_places", places)

    def test_an_update_that_no_worker_tests_is_not_stored(self):
        path = f"{self.path}?verify=true"
        with mock.patch("datasources.connection_tests.verification.wait_for"):
            response = self.call("patch", path, {"description": "New"}, self.editor)
        self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
        self.assertIn("Retry-After", response)
        self.assertEqual(self.stored()["description"], "")
        self.assertFalse(ConnectionTest.objects.exists())

    def test_says_how_much_time_there_is_for_a_verified_update(self):
        def be_late(test, seconds):
            test.finish(no_outcome("DEADLINE"))

        path = f"{self.path}?verify=true"
        with mock.patch("datasources.connection_tests.verification.wait_for", be_late):
            response = self.call("patch", path, {"connection_timeout": 60}, self.editor)
        self.assertEqual(response.status_code, 422)
        self.assertIn("25 seconds", response.json()["error"]["message"])

    def test_a_verified_update_hides_no_test_that_was_asked_for_later(self):
        def be_slow(test, seconds):
            test.finish(no_outcome("OK"))
            later = self.request()
            later.finish(no_outcome("TCP_REFUSED"))

        with mock.patch("datasources.connection_tests.verification.wait_for", be_slow):
            response = self.call("patch", f"{self.path}?verify=true", {}, self.editor)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.shown()["last_test"]["code"], "TCP_REFUSED")

    def test_a_draft_may_have_the_name_of_another_source(self):
        DataSource.objects.create(workspace=self.workspace, name="Other", type="csv")
        draft = {"based_on": self.data_source.pk, "name": "Other"}
        self.assertEqual(self.ask(draft, path="/data-sources").status_code, 202)

    def test_verifies_nothing_that_would_be_refused_anyway(self):
        path = f"{self.path}?verify=true"
        for changes, options, status in (
            ({"port": 0}, {}, 400),
            ({"port": 1}, {"headers": {"If-Match": '"9"'}}, 412),
        ):
            with self.subTest(changes=changes):
                response = self.call("patch", path, changes, self.editor, **options)
                self.assertEqual(response.status_code, status)
        response = self.call("patch", f"{self.path}?verify=maybe", {"port": 1}, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "verify")
        response = self.call("patch", path, {"port": 1}, self.viewer)
        self.assert_error(response, 403, "FORBIDDEN")
        self.assertEqual(ConnectionTest.objects.count(), 0)
        self.assertEqual(self.stored()["port"], 5432)

    def test_refuses_drafts_that_are_none(self):
        basis = {"based_on": self.data_source.pk}
        foreign = DataSource.objects.create(
            workspace=self.globex.workspaces.get(), name="Foreign", type="csv"
        )
        for body, *fields in (
            ({}, "type"),
            ({"type": "oracel"}, "type"),
            ({"type": "csv", "credentials": {"password": "x"}}, "credentials.password"),
            ({"type": "postgresql", "credentials": "x"}, "credentials"),
            ({"type": "postgresql", "credentials": {"pasword": "x"}}, "credentials.pasword"),
            ({"type": "postgresql", "password": "x"}, "password"),
            ({"type": "postgresql", "prot": 1}, "prot"),
            ({"type": "postgresql", "use_ssh_tunnel": True}, "ssh_host", "ssh_username"),
            ({**basis, "type": "mysql"}, "type"),
            ({**basis, "port": 0}, "port"),
            ({**basis, "use_ssh_tunnel": True}, "ssh_host", "ssh_username"),
            ({**basis, "credentials": {"token": "x"}}, "credentials.token"),
            ({"based_on": foreign.pk}, "based_on"),
            ({"based_on": str(self.data_source.pk)}, "based_on"),
            ({"based_on": True}, "based_on"),
            ({"based_on": 10**30}, "based_on"),
            ({"based_on": None}, "based_on"),
        ):
            with self.subTest(body=body):
                response = self.ask(body, path="/data-sources")
                self.assert_error(response, 400, "BAD_REQUEST", *fields)
        self.assertEqual(ConnectionTest.objects.count(), 0)

    def test_an_organization_may_ask_so_often(self):
        with (
            mock.patch.multiple(ConnectionTestThrottle, limit=2, seconds=60),
            time_machine.travel("2026-01-01T12:00:45Z", tick=False),
        ):
            self.assertEqual(self.ask().status_code, 202)
            draft = {"type": "csv", "file_path": "x"}
            self.assertEqual(self.ask(draft, path="/data-sources").status_code, 202)
            for response in (
                self.ask(user=self.admin),
                self.ask(draft, path="/data-sources"),
                self.call("patch", f"{self.path}?verify=true", {"port": 1}, self.editor),
            ):
                self.assert_error(response, 429, "TOO_MANY_REQUESTS")
                self.assertEqual(response["Retry-After"], "15")
            response = self.ask(draft, user=self.stranger, path="/data-sources")
            self.assertEqual(response.status_code, 202)
        self.assertEqual(ConnectionTest.objects.count(), 3)

    @mock.patch("datasources.connection_tests.throttling.RUNNING_MAX", 2)
    def test_an_organization_has_so_many_tests_at_once(self):
        for _ in range(2):
            self.assertEqual(self.ask().status_code, 202)
        refused = self.ask()
        self.assert_error(refused, 429, "TOO_MANY_REQUESTS")
        self.assertEqual(refused["Retry-After"], "1")
        self.assertEqual(self.ask_as_stranger().status_code, 202)
        ConnectionTest.objects.running().last().finish(no_outcome("TCP_REFUSED"))
        self.assertEqual(self.ask().status_code, 202)
        self.assertEqual(ConnectionTest.objects.count(), 4)

    def test_who_has_fewer_tests_comes_first(self):
        asked = [self.ask(), self.ask(), self.ask_as_stranger()]
        jobs = ProcrastinateJob.objects.order_by("-priority", "id")
        first, second, of_stranger = (answer.json()["data"]["test_id"] for answer in asked)
        expected = [first, of_stranger, second]
        self.assertEqual([job.args["test_id"] for job in jobs], expected)

    def ask_as_stranger(self):
        draft = {"type": "csv", "file_path": "x"}
        return self.ask(draft, user=self.stranger, path="/data-sources")

    def test_hides_the_tests_of_other_organizations(self):
        test_id = self.ask().json()["data"]["test_id"]
        for user, status in ((self.stranger, 404), (self.loner, 403), (self.viewer, 200)):
            response = self.call("get", f"/connection-tests/{test_id}", user=user)
            self.assertEqual(response.status_code, status)
        for spelling in (test_id.upper(), test_id.replace("-", ""), f"urn:uuid:{test_id}"):
            response = self.call("get", f"/connection-tests/{spelling}", user=self.viewer)
            self.assertEqual(response.status_code, 404)

    def request(self, data_source=None, secrets=None):
        data_source = data_source or self.data_source
        configuration = data_source.configuration(secrets or {})
        return ConnectionTest.objects.request(
            configuration, of=data_source, is_stored=True, user=self.editor
        )

    def test_the_result_of_an_older_version_is_not_shown(self):
        test = self.request()
        self.data_source.apply_changes({"port": 1}, user=self.editor)
        test.finish(no_outcome("TCP_REFUSED"))
        shown = self.shown()
        self.assertEqual((shown["status"], shown["last_test"]), ("active", None))
        response = self.call("get", f"/connection-tests/{test.pk}", user=self.viewer)
        self.assertEqual(response.json()["data"]["code"], "TCP_REFUSED")

    def test_a_test_that_was_asked_for_later_counts(self):
        earlier, later = self.request(), self.request()
        later.finish(no_outcome("OK"))
        earlier.finish(no_outcome("TCP_REFUSED"))
        shown = self.shown()
        self.assertEqual((shown["status"], shown["last_test"]["code"]), ("active", "OK"))

    def test_whoever_waits_for_a_test_that_is_deleted_learns_that(self):
        def delete(*args):
            DataSource.objects.get(pk=self.data_source.pk).delete()

        with mock.patch.object(waiting.time, "sleep", delete):
            response = self.ask(query="?wait=30")
        self.assert_error(response, 404, "NOT_FOUND")

    def test_what_was_shown_can_be_sent_back(self):
        """Many clients order the keys anew, and write 12 for 12.0."""
        test = self.request()
        outcome = no_outcome("TCP_REFUSED", [stage("tcp", False, 0.012)])
        test.finish(outcome)
        shown = self.shown()
        self.assertEqual(shown["last_test"]["stages"][0]["milliseconds"], 12.0)
        text = json.dumps(shown, sort_keys=True).replace("12.0", "12")
        response = self.call("patch", self.path, text.encode(), self.editor)
        self.assertEqual(response.status_code, 200, response.content)
        other = {"last_test": {**shown["last_test"], "ok": True}}
        response = self.call("patch", self.path, other, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "last_test")

    def test_the_host_key_that_was_looked_at_is_confirmed_and_no_other(self):
        path = f"{self.path}/ssh-host-key/confirm"
        keys = [f"ssh-ed25519 {base64.b64encode(name).decode()}" for name in (b"one", b"two")]
        prints = [fingerprint(key) for key in keys]
        for key in keys:
            self.request().finish({**no_outcome("SSH_HOST_KEY_UNCONFIRMED"), "ssh_host_key": key})
        for body in ({"fingerprint": prints[0]}, {"fingerprint": "SHA256:x"}):
            response = self.call("post", path, body, self.admin)
            self.assert_error(response, 409, "CONFLICT")
        for body in ({"fingerprint": 7}, {"finger": prints[1]}):
            self.assertEqual(self.call("post", path, body, self.admin).status_code, 400)
        self.assertIsNone(self.stored()["ssh_host_key"])
        for _ in range(2):
            response = self.call("post", path, {"fingerprint": prints[1]}, self.admin)
            self.assertEqual(response.json()["data"]["ssh_host_key"], keys[1])
        self.assertEqual(self.stored()["version"], 2)

    def test_a_host_key_of_an_older_version_cannot_be_confirmed(self):
        path = f"{self.path}/ssh-host-key/confirm"
        key = f"ssh-ed25519 {base64.b64encode(b'one').decode()}"
        self.request().finish({**no_outcome("SSH_HOST_KEY_CHANGED"), "ssh_host_key": key})
        self.data_source.apply_changes({"description": "New"}, user=self.editor)
        self.assert_error(self.call("post", path, user=self.admin), 409, "CONFLICT")
        self.assertIsNone(self.stored()["ssh_host_key"])

    def test_only_the_first_outcome_counts(self):
        test = self.request()
        other = ConnectionTest.objects.get(pk=test.pk)
        test.finish(no_outcome("TCP_REFUSED"))
        other.finish(no_outcome("DEADLINE"))
        self.assertEqual(self.shown()["last_test"]["code"], "TCP_REFUSED")
        stored = ConnectionTest.objects.get(pk=test.pk)
        self.assertEqual(stored.result()["code"], "TCP_REFUSED")

    def test_a_test_survives_the_deletion_of_nothing_it_needs(self):
        test = self.request()
        DataSource.objects.get(pk=self.data_source.pk).delete()
        test.finish(no_outcome("OK"))
        self.assertFalse(ConnectionTest.objects.filter(pk=test.pk).exists())

    def test_secrets_open_for_the_configuration_they_were_sealed_for(self):
        test = self.request(secrets={"password": "hunter2"})
        stored = ConnectionTest.objects.get(pk=test.pk)
        self.assertEqual(stored.open().secrets, {"password": "hunter2"})
        self.assertNotIn("hunter2", repr(stored.open()))
        for column, value in (
            ("configuration", {**stored.configuration, "host": "evil.example.com"}),
            ("organization_id", self.globex.pk),
            ("key_id", "0" * 16),
            ("id", "00000000-0000-4000-8000-000000000000"),
        ):
            with self.subTest(column=column):
                changed = ConnectionTest.objects.get(pk=test.pk)
                setattr(changed, column, value)
                with self.assertRaises(UnreadableError):
                    changed.open()

    def test_old_tests_are_deleted(self):
        old, new = self.request(), self.request()
        with time_machine.travel("2020-01-01T00:00:00Z", tick=False):
            ancient = self.request()
        self.assertEqual([*ConnectionTest.objects.outdated()], [ancient])
        self.assertEqual(delete_old_tests.name, "delete_old_tests")
        self.assertNotIn(old, ConnectionTest.objects.outdated())
        self.assertNotIn(new, ConnectionTest.objects.outdated())

    def test_the_port_of_nowhere_else_is_that_of_the_type(self):
        self.data_source.apply_changes({"port": None}, user=self.owner)
        self.assertEqual(self.data_source.configuration({}).port, 5432)

    def test_the_port_of_no_connection_string_is_that_of_its_scheme_and_options(self):
        for url, port in (
            ("clickhouse://ch.example.com/shop", 8123),
            ("clickhouse://ch.example.com/shop?secure=true", 8443),
            ("clickhouses://ch.example.com/shop", 8443),
            ("clickhouses://ch.example.com:1234/shop", 1234),
        ):
            with self.subTest(url):
                draft = {"type": "clickhouse", "name": url, "connection_string": url}
                response = self.call("post", "/data-sources", draft, self.editor)
                data_source = DataSource.objects.get(pk=response.json()["data"]["id"])
                self.assertEqual(data_source.configuration({}).port, port)

    def test_what_the_connection_string_says_goes_first(self):
        self.data_source.apply_changes(
            {"connection_string": "postgresql://me%40x@[::1]/a%2Fb?sslmode=require"},
            user=self.owner,
        )
        self.data_source.set_credentials({"username": "reader"}, user=self.owner)
        configuration = self.data_source.configuration({})
        expected = Configuration(
            type="postgresql",
            host="::1",
            port=5432,
            database_name="a/b",
            schema_name="public",
            username="me@x",
            url_scheme="postgresql",
            options={"sslmode": "require"},
            ssh_port=22,
        )
        self.assertEqual(configuration, expected)
