"""Tests of reads from a real streaming replica."""

import time
from contextlib import contextmanager
from unittest import mock

from django.core.management import call_command
from django.db import OperationalError, connections
from django.test import TransactionTestCase
from django.test.utils import CaptureQueriesContext

from datasources.models import DataSource
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestMixin
from organizations.models import Role, User
from rivergen.postgresql import replica
from rivergen.testing import replication
from rivergen.testing.databases import connected_to

PATIENCE_SECONDS = 10


class ReplicaTests(DataSourceTestMixin, TransactionTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.primary = cls.enterClassContext(replication.embedded_primary(fsync="off"))
        cls.server = cls.enterClassContext(replication.replica(cls.primary))
        cls.enterClassContext(connected_to(cls.primary.url(), cls.server.url()))
        cls.databases = {"default", replica.REPLICA}
        call_command("migrate", verbosity=0)

    def setUp(self):
        self.make_world()
        replica.set_retry_at(0.0)
        self.catch_up()

    def on_replica(self, statement):
        with connections[replica.REPLICA].cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]

    def catch_up(self):
        """Return when the replica has replayed everything."""
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_lsn()")
            [end] = cursor.fetchone()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.on_replica(f"SELECT pg_last_wal_replay_lsn() >= '{end}'"):
            assert time.monotonic() < deadline, "The replica does not follow."
            time.sleep(0.01)

    @contextmanager
    def fallen_behind(self):
        """Pause the replay of the replica."""
        self.catch_up()
        self.on_replica("SELECT pg_wal_replay_pause()")
        while self.on_replica("SELECT pg_get_wal_replay_pause_state()") != "paused":
            time.sleep(0.01)
        try:
            yield
        finally:
            self.on_replica("SELECT pg_wal_replay_resume()")

    def get(self, path, user=None, **headers):
        """Return the response, and the number of statements on primary and replica."""
        with (
            CaptureQueriesContext(connections["default"]) as of_primary,
            CaptureQueriesContext(connections[replica.REPLICA]) as of_replica,
        ):
            response = self.call("get", path, user=user or self.editor, headers=headers)
        return response, (len(of_primary), len(of_replica))

    def history(self):
        response, asked = self.get(f"{self.path}/history")
        self.assertEqual(response.status_code, 200, response.content)
        return [change["version"] for change in response.json()["data"]], asked

    def list(self, user):
        response, asked = self.get("/data-sources", user)
        self.assertEqual(response.status_code, 200, response.content)
        return [one["description"] for one in response.json()["data"]], asked

    def change(self, user=None):
        data = {"description": str(time.monotonic())}
        response = self.call("patch", self.path, data, user or self.editor)
        self.assertEqual(response.status_code, 200, response.content)

    def position(self, user):
        return User.objects.get(pk=user.pk).last_write_position

    def test_history_is_read_from_the_replica(self):
        self.assertEqual(self.history(), ([1], (1, 2)))

    def test_history_shows_a_change_before_the_replica_has_it(self):
        with self.fallen_behind():
            self.change()
            self.assertEqual(self.history(), ([2, 1], (2, 1)))
        self.catch_up()
        self.assertEqual(self.history(), ([2, 1], (1, 2)))

    def test_list_is_read_from_the_replica(self):
        self.assertEqual(self.list(self.editor), ([""], (1, 1)))

    def test_list_shows_users_their_own_change_before_the_replica_has_it(self):
        with self.fallen_behind():
            self.change()
            [description], asked = self.list(self.editor)
            self.assertTrue(description)
            self.assertEqual(asked, (2, 1))
            self.assertEqual(self.list(self.viewer), ([""], (1, 1)))
        self.catch_up()
        # The position of the replica is queried once.
        self.assertEqual(self.list(self.editor), ([description], (1, 2)))
        self.assertEqual(self.list(self.editor), ([description], (1, 1)))

    def test_list_shows_users_what_they_changed_by_any_method_before_the_replica_has_it(self):
        path = "/data-sources"
        with self.fallen_behind():
            before = self.position(self.admin)
            for method, target, body in (
                ("post", path, {"name": "New", "type": "csv"}),
                ("patch", self.path, {"description": "New"}),
                ("put", f"{self.path}/credentials", {"password": "hunter2"}),
                ("delete", self.path, None),
            ):
                response = self.call(method, target, body, self.admin)
                self.assertIn(response.status_code, (200, 201, 204), response.content)
                after = self.position(self.admin)
                self.assertGreater(after, before, method)
                before = after
            response, _ = self.get(path, self.admin)
            self.assertEqual([one["name"] for one in response.json()["data"]], ["New"])
            self.assertEqual(self.position(self.admin), before)  # reading is no change

    def test_list_goes_by_the_memberships_in_the_primary(self):
        with self.fallen_behind():
            self.acme.memberships.get(user=self.editor).delete()
            self.assert_error(self.get("/data-sources")[0], 403, "FORBIDDEN")
            self.acme.add_member(self.stranger, Role.VIEWER)
            self.assertEqual(self.list(self.stranger), ([""], (1, 1)))

    def test_history_shows_a_change_from_the_shell_before_the_replica_has_it(self):
        with self.fallen_behind():
            DataSource.objects.get().apply_changes({"description": "x"}, user=self.owner)
            self.assertEqual(self.history(), ([2, 1], (2, 1)))

    def test_access_to_data_sources_is_decided_by_the_primary(self):
        with self.fallen_behind():
            self.acme.memberships.get(user=self.editor).delete()
            for path in ("/history", "/schema", "/schema/snapshots", "/schema/changes"):
                with self.subTest(path):
                    response, (_, of_replica) = self.get(f"{self.path}{path}")
                    self.assert_error(response, 403, "FORBIDDEN")
                    self.assertEqual(of_replica, 0)

    def test_schemas_are_read_from_the_replica(self):
        refresh(self.data_source, table("orders", column("id")))
        refresh(self.data_source, table("orders", column("id"), column("total")))
        self.catch_up()
        # Statements: for the row, the snapshots and, if tables are shown, their blocks.
        for path, count in (("", 3), ("/snapshots", 2), ("/changes", 5), ("?snapshot=1", 3)):
            with self.subTest(path):
                response, asked = self.get(f"{self.path}/schema{path}")
                self.assertEqual((response.status_code, asked), (200, (1, count)))

    def test_schema_shows_a_refresh_before_the_replica_has_it(self):
        refresh(self.data_source, table("orders", column("id")), row_estimate=1)
        with self.fallen_behind():
            response, _ = self.get(f"{self.path}/schema")
            etag = response["ETag"]
            known, asked = self.get(f"{self.path}/schema", **{"If-None-Match": etag})
            self.assertEqual((known.status_code, asked), (304, (1, 2)))
            # Only the row estimate changes, which stores no new snapshot.
            refresh(self.data_source, table("orders", column("id")), row_estimate=2)
            response, (_, of_replica) = self.get(f"{self.path}/schema", **{"If-None-Match": etag})
            self.assertEqual((response.status_code, of_replica), (200, 1))
            self.assertEqual(response.json()["data"]["tables"][0]["row_estimate"], 2)

    def test_first_schema_is_shown_before_the_replica_has_it(self):
        with self.fallen_behind():
            self.assert_error(self.get(f"{self.path}/schema")[0], 404, "SCHEMA_NOT_READ")
            refresh(self.data_source, table("orders", column("id")))
            for path in ("", "/snapshots", "/changes"):
                with self.subTest(path):
                    response, (_, of_replica) = self.get(f"{self.path}/schema{path}")
                    self.assertEqual((response.status_code, of_replica), (200, 1))

    def test_primary_answers_while_the_replica_is_down(self):
        path = f"{self.path}/history"
        self.assertEqual(self.history(), ([1], (1, 2)))
        self.server.kill()
        try:
            self.assertEqual(self.call("get", path, user=self.editor).status_code, 200)
            with mock.patch.object(connections[replica.REPLICA], "connect") as connect:
                self.assertEqual(self.call("get", path, user=self.editor).status_code, 200)
                self.assertEqual(self.client.get("/readyz").status_code, 200)
            connect.assert_not_called()
        finally:
            self.server.start()
        replica.set_retry_at(time.monotonic())
        self.assertEqual(self.history(), ([1], (1, 2)))
        self.assertEqual(self.history(), ([1], (1, 2)))

    def test_failed_replica_is_retried_by_one_thread_at_a_time(self):
        replica.set_retry_at(time.monotonic())
        self.assertEqual([replica.is_available() for _ in range(3)], [True, False, False])

    def test_primary_answers_once_the_replica_is_promoted(self):
        other = self.enterContext(replication.replica(self.primary))
        with connected_to(self.primary.url(), other.url()):
            self.catch_up()
            self.assertEqual(self.history(), ([1], (1, 2)))
            self.assertTrue(self.on_replica("SELECT pg_promote()"))
            self.assertEqual(self.history(), ([1], (2, 2)))
            self.assertEqual(self.history(), ([1], (2, 0)))

    def test_primary_answers_if_the_replica_url_leads_to_the_primary(self):
        with connected_to(self.primary.url(), self.primary.url()):
            self.assertEqual(self.history(), ([1], (2, 2)))
            self.assertEqual(self.history(), ([1], (2, 0)))

    def test_change_stores_the_position_that_the_replica_must_reach(self):
        self.assertEqual(self.position(self.editor), 0)
        with self.fallen_behind():
            self.change()
            position = self.position(self.editor)
            with self.assertRaises(replica.BehindError):
                replica.require_replayed(position)
        self.catch_up()
        replica.require_replayed(position)
        self.assertEqual(self.position(self.viewer), 0)

    def test_requests_that_change_nothing_store_no_replication_position(self):
        self.get(self.path)
        self.call("patch", self.path, {"port": 0}, self.editor)
        self.call("patch", self.path, {"port": 1}, self.viewer)
        self.call("delete", self.path, None, self.stranger)
        for user in (self.editor, self.viewer, self.stranger):
            self.assertEqual(self.position(user), 0)

    def test_stored_replication_position_never_goes_back(self):
        User.objects.filter(pk=self.editor.pk).update(last_write_position=2**62)
        self.change()
        self.assertEqual(self.position(self.editor), 2**62)

    def test_known_position_of_the_replica_is_not_queried_again(self):
        self.change()
        position = self.position(self.editor)
        self.catch_up()
        with CaptureQueriesContext(connections[replica.REPLICA]) as captured:
            replica.require_replayed(position)
            replica.require_replayed(position)
            replica.require_replayed(0)
        self.assertEqual(len(captured), 1)

    def test_replica_position_is_queried_again_after_a_reconnect(self):
        self.change()
        self.catch_up()
        replica.require_replayed(self.position(self.editor))
        connections[replica.REPLICA].close()
        with CaptureQueriesContext(connections[replica.REPLICA]) as captured:
            replica.require_replayed(self.position(self.editor))
        self.assertEqual(len(captured), 1)

    def test_change_whose_replication_position_cannot_be_stored_is_503(self):
        with mock.patch.object(User, "remember_write", side_effect=OperationalError):
            response = self.call("patch", self.path, {"description": "x"}, self.editor)
        self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
        self.assertEqual(response["Retry-After"], "2")


class WithoutReplicaTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self):
        self.make_world()

    def test_change_without_a_replica_stores_no_replication_position(self):
        self.call("patch", self.path, {"description": "x"}, self.editor)
        self.assertEqual(User.objects.get(pk=self.editor.pk).last_write_position, 0)

    def test_history_without_a_replica_takes_two_statements(self):
        with self.assertNumQueries(2):
            response = self.call("get", f"{self.path}/history", user=self.editor)
        self.assertEqual(response.status_code, 200)
