"""Tests of connection tests over HTTP, and of their model, without a worker."""

import base64
import json
from unittest import mock

import time_machine
from django.db import transaction
from procrastinate.contrib.django.models import ProcrastinateJob

from datasources.connection_tests import views, waiting
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.tasks import delete_old_tests
from datasources.connection_tests.throttling import ConnectionTestThrottle
from datasources.connections.configuration import Configuration
from datasources.connections.outcome import no_outcome
from datasources.connections.ssh.host_keys import fingerprint
from datasources.connections.stages import stage
from datasources.credentials.cipher import UnreadableError
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from organizations.models import Organization


class ConnectionTestTests(DataSourceTestCase):
    def request_test(self, body=None, user=None, path=None, query=""):
        target = f"{path or self.path}/test{query}"
        return self.call("post", target, body, user or self.editor)

    def test_request_waits_for_the_result_as_long_as_wait_says(self):
        with mock.patch.object(views, "wait_for") as wait_for:
            self.assertEqual(self.request_test().status_code, 202)
            wait_for.assert_not_called()
            self.assertEqual(self.request_test(query="?wait=7").status_code, 202)
        self.assertEqual(wait_for.call_args.args[1], 7)
        for wait in ("31", "-1", "1.5", "x", "", "１"):
            with self.subTest(wait=wait):
                self.assert_error(
                    self.request_test(query=f"?wait={wait}"), 400, "BAD_REQUEST", "wait"
                )
        self.assertEqual(ConnectionTest.objects.count(), 2)

    def test_request_does_not_wait_when_all_waiting_places_are_taken(self):
        with mock.patch.object(views, "wait_for") as wait_for, self.all_places_taken():
            self.assertEqual(self.request_test(query="?wait=30").status_code, 202)
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

    def test_verified_update_is_503_and_not_stored_without_a_worker(self):
        path = f"{self.path}?verify=true"
        with mock.patch("datasources.connection_tests.verification.wait_for"):
            response = self.call("patch", path, {"description": "New"}, self.editor)
        self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
        self.assertIn("Retry-After", response)
        self.assertEqual(self.stored()["description"], "")
        self.assertFalse(ConnectionTest.objects.exists())

    def test_verified_update_with_a_long_timeout_names_the_limit_when_it_times_out(self):
        def time_out(test, seconds):
            test.finish(no_outcome("DEADLINE"))

        path = f"{self.path}?verify=true"
        with mock.patch("datasources.connection_tests.verification.wait_for", time_out):
            response = self.call("patch", path, {"connection_timeout": 60}, self.editor)
        self.assertEqual(response.status_code, 422)
        self.assertIn("25 seconds", response.json()["error"]["message"])

    def test_verified_update_does_not_hide_the_result_of_a_later_test(self):
        def finish_too_late(test, seconds):
            test.finish(no_outcome("OK"))
            later = self.create_test()
            later.finish(no_outcome("TCP_REFUSED"))

        with mock.patch("datasources.connection_tests.verification.wait_for", finish_too_late):
            response = self.call("patch", f"{self.path}?verify=true", {}, self.editor)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.shown()["last_test"]["code"], "TCP_REFUSED")

    def test_result_is_shown_unless_what_it_depends_on_was_changed_during_the_test(self):
        for changes, is_shown in (
            ({"description": "New", "connection_pool_size": 7, "tags": ["a"]}, True),
            ({"connection_timeout": 9}, False),
            ({"query_timeout": 9}, False),
            ({"max_retries": 9}, False),
            ({"database_name": "other"}, False),
        ):
            with self.subTest(changes=changes), transaction.atomic():
                test = self.create_test()
                DataSource.objects.get(pk=self.data_source.pk).apply_changes(changes, user=None)
                test.finish(no_outcome("TCP_REFUSED"))
                self.assertEqual(self.stored()["last_test"] is not None, is_shown)
                transaction.set_rollback(True)

    def test_results_stored_without_warnings_stay_readable(self):
        test = self.create_test()
        outcome = no_outcome("OK")
        del outcome["warnings"]
        test.finish(outcome)
        self.assertEqual(test.result()["warnings"], [])
        result = test.result()
        del result["warnings"]
        stored = DataSource.objects.filter(pk=self.data_source.pk)
        stored.record_test(result, version=self.data_source.version)
        self.assertEqual(self.shown()["last_test"], result)

    def test_draft_may_have_the_name_of_another_data_source(self):
        DataSource.objects.create(workspace=self.workspace, name="Other", type="csv")
        draft = {"based_on": self.data_source.pk, "name": "Other"}
        self.assertEqual(self.request_test(draft, path="/data-sources").status_code, 202)

    def test_update_that_is_refused_is_not_verified(self):
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

    def test_invalid_drafts_are_refused(self):
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
                response = self.request_test(body, path="/data-sources")
                self.assert_error(response, 400, "BAD_REQUEST", *fields)
        self.assertEqual(ConnectionTest.objects.count(), 0)

    def test_connection_tests_of_an_organization_are_rate_limited(self):
        with (
            mock.patch.multiple(ConnectionTestThrottle, limit=2, seconds=60),
            time_machine.travel("2026-01-01T12:00:45Z", tick=False),
        ):
            self.assertEqual(self.request_test().status_code, 202)
            draft = {"type": "csv", "file_path": "x"}
            self.assertEqual(self.request_test(draft, path="/data-sources").status_code, 202)
            for response in (
                self.request_test(user=self.admin),
                self.request_test(draft, path="/data-sources"),
                self.call("patch", f"{self.path}?verify=true", {"port": 1}, self.editor),
            ):
                self.assert_error(response, 429, "TOO_MANY_REQUESTS")
                self.assertEqual(response["Retry-After"], "15")
            response = self.request_test(draft, user=self.stranger, path="/data-sources")
            self.assertEqual(response.status_code, 202)
        self.assertEqual(ConnectionTest.objects.count(), 3)

    @mock.patch("datasources.connection_tests.throttling.RUNNING_MAX", 2)
    def test_connection_tests_in_flight_of_an_organization_are_limited(self):
        for _ in range(2):
            self.assertEqual(self.request_test().status_code, 202)
        refused = self.request_test()
        self.assert_error(refused, 429, "TOO_MANY_REQUESTS")
        self.assertEqual(refused["Retry-After"], "1")
        self.assertEqual(self.request_test_as_stranger().status_code, 202)
        ConnectionTest.objects.running().last().finish(no_outcome("TCP_REFUSED"))
        self.assertEqual(self.request_test().status_code, 202)
        self.assertEqual(ConnectionTest.objects.count(), 4)

    def test_organization_with_fewer_waiting_tests_comes_first(self):
        requested = [self.request_test(), self.request_test(), self.request_test_as_stranger()]
        jobs = ProcrastinateJob.objects.order_by("-priority", "id")
        first, second, of_stranger = (answer.json()["data"]["test_id"] for answer in requested)
        expected = [first, of_stranger, second]
        self.assertEqual([job.args["test_id"] for job in jobs], expected)

    def request_test_as_stranger(self):
        draft = {"type": "csv", "file_path": "x"}
        return self.request_test(draft, user=self.stranger, path="/data-sources")

    def test_connection_tests_of_other_organizations_are_hidden(self):
        test_id = self.request_test().json()["data"]["test_id"]
        for user, status in ((self.stranger, 404), (self.loner, 403), (self.viewer, 200)):
            response = self.call("get", f"/connection-tests/{test_id}", user=user)
            self.assertEqual(response.status_code, status)
        for spelling in (test_id.upper(), test_id.replace("-", ""), f"urn:uuid:{test_id}"):
            response = self.call("get", f"/connection-tests/{spelling}", user=self.viewer)
            self.assertEqual(response.status_code, 404)

    def create_test(self, data_source=None, secrets=None):
        data_source = data_source or self.data_source
        configuration = data_source.configuration(secrets or {})
        return ConnectionTest.objects.request(
            configuration, of=data_source, is_stored=True, user=self.editor
        )

    def test_result_is_shown_if_nothing_that_the_connection_depends_on_has_changed(self):
        test = self.create_test()
        changes = {"description": "New", "metadata": {"a": 1}, "tags": ["new"], "name": "New"}
        self.data_source.apply_changes(changes, user=self.editor)
        test.finish(no_outcome("TCP_REFUSED"))
        shown = self.shown()
        self.assertEqual((shown["status"], shown["last_test"]["version"]), ("error", 1))
        self.assertEqual(shown["version"], 2)

    def test_result_is_not_shown_if_the_secrets_have_changed_since(self):
        test = self.create_test()
        self.data_source.set_credentials({"password": "hunter2"}, user=self.editor)
        test.finish(no_outcome("LOGIN_FAILED"))
        self.assertIsNone(self.shown()["last_test"])

    def test_result_for_an_older_configuration_is_not_shown_on_the_data_source(self):
        test = self.create_test()
        self.data_source.apply_changes({"port": 1}, user=self.editor)
        test.finish(no_outcome("TCP_REFUSED"))
        shown = self.shown()
        self.assertEqual((shown["status"], shown["last_test"]), ("active", None))
        response = self.call("get", f"/connection-tests/{test.pk}", user=self.viewer)
        self.assertEqual(response.json()["data"]["code"], "TCP_REFUSED")

    def test_last_test_is_the_one_that_was_requested_last(self):
        earlier, later = self.create_test(), self.create_test()
        later.finish(no_outcome("OK"))
        earlier.finish(no_outcome("TCP_REFUSED"))
        shown = self.shown()
        self.assertEqual((shown["status"], shown["last_test"]["code"]), ("active", "OK"))

    def test_waiting_for_a_test_that_is_deleted_ends_with_404(self):
        def delete(*args):
            DataSource.objects.get(pk=self.data_source.pk).delete()

        with mock.patch.object(waiting.time, "sleep", delete):
            response = self.request_test(query="?wait=30")
        self.assert_error(response, 404, "NOT_FOUND")

    def test_last_test_as_shown_can_be_sent_back(self):
        """Many clients sort the keys, and write 12 for 12.0."""
        test = self.create_test()
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

    def test_only_the_host_key_with_the_given_fingerprint_is_confirmed(self):
        path = f"{self.path}/ssh-host-key/confirm"
        keys = [f"ssh-ed25519 {base64.b64encode(name).decode()}" for name in (b"one", b"two")]
        prints = [fingerprint(key) for key in keys]
        for key in keys:
            self.create_test().finish(
                {**no_outcome("SSH_HOST_KEY_UNCONFIRMED"), "ssh_host_key": key}
            )
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

    def test_confirming_a_host_key_without_its_fingerprint_is_400(self):
        path = f"{self.path}/ssh-host-key/confirm"
        key = f"ssh-ed25519 {base64.b64encode(b'one').decode()}"
        self.create_test().finish({**no_outcome("SSH_HOST_KEY_CHANGED"), "ssh_host_key": key})
        before = self.stored()
        for body in (None, {}, {"fingerprint": None}, {"fingerprint": ""}):
            with self.subTest(body):
                response = self.call("post", path, body, self.admin)
                self.assert_error(response, 400, "BAD_REQUEST", "fingerprint")
                self.assertEqual(self.stored(), before)
        Organization.objects.filter(pk=self.acme.pk).update(requires_if_match=True)
        response = self.call("post", path, {}, self.admin, headers={"If-Match": '"99"'})
        self.assert_error(response, 400, "BAD_REQUEST", "fingerprint")

    def test_host_key_presented_to_another_destination_cannot_be_confirmed(self):
        path = f"{self.path}/ssh-host-key/confirm"
        key = f"ssh-ed25519 {base64.b64encode(b'one').decode()}"
        body = {"fingerprint": fingerprint(key)}
        changes = {"host": "b", "port": 1, "ssh_host": "b", "ssh_port": 2222, "ssh_username": "b"}
        for field, value in changes.items():
            self.create_test().finish({**no_outcome("SSH_HOST_KEY_CHANGED"), "ssh_host_key": key})
            self.data_source.apply_changes({field: value}, user=self.editor)
            self.data_source.apply_changes({"description": field}, user=self.editor)
            with self.subTest(field):
                self.assert_error(self.call("post", path, body, self.admin), 409, "CONFLICT")
                self.assertIsNone(self.stored()["ssh_host_key"])

    def test_host_key_can_be_confirmed_after_a_change_of_something_else(self):
        path = f"{self.path}/ssh-host-key/confirm"
        key = f"ssh-ed25519 {base64.b64encode(b'one').decode()}"
        self.create_test().finish({**no_outcome("SSH_HOST_KEY_CHANGED"), "ssh_host_key": key})
        self.data_source.apply_changes({"description": "New"}, user=self.editor)
        response = self.call("post", path, {"fingerprint": fingerprint(key)}, self.admin)
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(self.stored()["ssh_host_key"], key)

    def test_changing_the_ssh_server_drops_the_confirmed_host_key(self):
        key = f"ssh-ed25519 {base64.b64encode(b'one').decode()}"
        kept = {"ssh_username": "b", "host": "b", "port": 1, "use_ssh_tunnel": True}
        for field, value in {"ssh_host": "b", "ssh_port": 2222, **kept}.items():
            source = DataSource.objects.create(
                workspace=self.workspace,
                name=field,
                type="postgresql",
                ssh_host="a",
                ssh_username="a",
                ssh_host_key=key,
            )
            with self.subTest(field):
                source.apply_changes({field: value}, user=self.editor)
                source.refresh_from_db()
                self.assertEqual(source.ssh_host_key, key if field in kept else None)

    def test_second_outcome_of_a_test_is_ignored(self):
        test = self.create_test()
        other = ConnectionTest.objects.get(pk=test.pk)
        test.finish(no_outcome("TCP_REFUSED"))
        other.finish(no_outcome("DEADLINE"))
        self.assertEqual(self.shown()["last_test"]["code"], "TCP_REFUSED")
        stored = ConnectionTest.objects.get(pk=test.pk)
        self.assertEqual(stored.result()["code"], "TCP_REFUSED")

    def test_finishing_a_test_of_a_deleted_data_source_does_nothing(self):
        test = self.create_test()
        DataSource.objects.get(pk=self.data_source.pk).delete()
        test.finish(no_outcome("OK"))
        self.assertFalse(ConnectionTest.objects.filter(pk=test.pk).exists())

    def test_secrets_open_only_for_the_configuration_they_were_sealed_with(self):
        test = self.create_test(secrets={"password": "hunter2"})
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

    def test_only_old_connection_tests_are_outdated(self):
        old, new = self.create_test(), self.create_test()
        with time_machine.travel("2020-01-01T00:00:00Z", tick=False):
            ancient = self.create_test()
        self.assertEqual([*ConnectionTest.objects.outdated()], [ancient])
        self.assertEqual(delete_old_tests.name, "delete_old_tests")
        self.assertNotIn(old, ConnectionTest.objects.outdated())
        self.assertNotIn(new, ConnectionTest.objects.outdated())

    def test_port_defaults_to_the_port_of_the_type(self):
        self.data_source.apply_changes({"port": None}, user=self.owner)
        self.assertEqual(self.data_source.configuration({}).port, 5432)

    def test_port_of_a_connection_string_without_one_follows_scheme_and_options(self):
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

    def test_connection_string_takes_precedence_over_the_fields(self):
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
