"""Idempotency-Key: a repeated request changes nothing and gets the stored response."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any
from unittest import mock

import time_machine
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.test import TransactionTestCase
from django.utils import timezone
from rest_framework.exceptions import ValidationError

from datasources.connection_tests.testing import defer_periodic, run_jobs
from datasources.jobs import delete_idempotency_records
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase, DataSourceTestMixin
from organizations.idempotency.keyed_request import KeyedRequest, read_key
from organizations.idempotency.models import ANSWERS_KEPT_FOR, IdempotencyRecord
from organizations.models import Membership, Organization, Role, User, Workspace
from organizations.testing import PASSWORD, sql
from rivergen.testing.deadlocks import deadlock_once
from tests.api.testing.route_table import ROUTES, Route, enter_password

THREADS = 20
BARRIER_TIMEOUT = 60
KEYED = {name: route for name, route in ROUTES.items() if name[0] in ("post", "patch")}
NEW = {"name": "New", "type": "csv"}


class KeyedMixin(DataSourceTestMixin):
    """Send requests with an Idempotency-Key."""

    def keyed(
        self,
        body: Any = None,
        key: str = "k",
        *,
        method: str = "patch",
        path: str | None = None,
        user: User | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Any:
        sent = {"Idempotency-Key": key, **(headers or {})}
        target = path or self.path
        return self.call(method, target, body, user or self.editor, headers=sent, **options)

    def assert_replayed(self, response: Any, first: Any) -> None:
        """Check that a response repeats the first one, and is marked as replayed."""
        assert response.status_code == first.status_code, response.content
        assert response.content == first.content
        for name in ("ETag", "Location", "Content-Type", "Allow", "Vary"):
            assert response.headers.get(name) == first.headers.get(name), name
        assert response["Idempotency-Replayed"] == "true"
        assert "Idempotency-Replayed" not in first


class IdempotencyTests(KeyedMixin, DataSourceTestCase):
    def test_repeated_update_is_replayed_even_after_later_changes(self):
        first = self.keyed({"port": 5433}, headers={"If-Match": '"1"'})
        self.assertEqual((first.status_code, first["ETag"]), (200, '"2"'))
        self.call("patch", self.path, {"port": 5434}, self.admin)
        again = self.keyed({"port": 5433}, headers={"If-Match": '"1"'})
        self.assert_replayed(again, first)
        self.assertEqual((self.stored()["port"], self.stored()["version"]), (5434, 3))

    def test_repeated_create_is_replayed_even_after_deletion(self):
        first = self.keyed(NEW, method="post", path="/data-sources")
        self.assertEqual(first.status_code, 201)
        again = self.keyed(NEW, method="post", path="/data-sources")
        self.assert_replayed(again, first)
        self.assertIn("Location", again)
        DataSource.objects.get(name="New").delete()
        self.assert_replayed(self.keyed(NEW, method="post", path="/data-sources"), first)
        self.assertFalse(DataSource.objects.filter(name="New").exists())

    def test_same_idempotency_key_with_another_request_is_422(self):
        self.keyed({"port": 5433})
        other = DataSource.objects.create(workspace=self.workspace, name="Other", type="csv")
        before = self.stored()
        for options in (
            {"body": {"port": 5434}},
            {"body": b'{"port":  5433}'},
            {"path": f"/data-sources/{other.pk}"},
            {"path": f"{self.path}?dry_run=true"},
            {"path": f"{self.path}?verify=true"},
            {"method": "post", "path": f"{self.path}/test?wait=30"},
            {"headers": {"If-Match": '"2"'}},
            {"body": b'{"port":5433}', "content_type": "application/merge-patch+json"},
        ):
            with self.subTest(options):
                response = self.keyed(**{"body": {"port": 5433}, **options})
                self.assert_error(response, 422, "IDEMPOTENCY_KEY_REUSED")
        self.assertEqual(self.stored(), before)
        self.assertEqual(self.keyed({"port": 5433}).status_code, 200)

    def test_same_idempotency_key_of_another_user_is_independent(self):
        self.assertEqual(self.keyed({"port": 1}).status_code, 200)
        other = self.keyed({"port": 2}, user=self.admin)
        self.assertEqual((other.status_code, other["ETag"]), (200, '"3"'))
        self.assertNotIn("Idempotency-Replayed", other)

    def test_refused_request_is_not_stored(self):
        self.assert_error(self.keyed({"port": 0}), 400, "BAD_REQUEST", "port")
        self.assert_error(self.keyed({}, user=self.viewer), 403, "FORBIDDEN")
        stale = {"If-Match": '"7"'}
        self.assert_error(self.keyed({}, headers=stale), 412, "PRECONDITION_FAILED")
        self.assertFalse(IdempotencyRecord.objects.exists())
        self.assertEqual(self.keyed({"port": 5433}).status_code, 200)
        self.assertEqual(self.stored()["port"], 5433)

    def test_key_of_a_refused_request_can_be_used_with_a_corrected_body(self):
        DataSource.objects.create(workspace=self.workspace, **NEW)
        sent = {"method": "post", "path": "/data-sources"}
        self.assert_error(self.keyed(NEW, **sent), 400, "BAD_REQUEST", "name")
        self.assertEqual(self.keyed({**NEW, "name": "Newer"}, **sent).status_code, 201)

    def test_repeated_dry_run_is_replayed(self):
        path = f"{self.path}?dry_run=true"
        first = self.keyed({"port": 5433}, path=path)
        self.call("patch", self.path, {"port": 5434}, self.editor)
        self.assert_replayed(self.keyed({"port": 5433}, path=path), first)
        self.assertEqual(self.stored()["port"], 5434)

    def test_every_route_that_takes_a_key_replays_its_response(self):
        enter_password(self.data_source)
        for (method, path), route in KEYED.items():
            with self.subTest(method=method, path=path):
                self.check_replay(method, path, route)

    def check_replay(self, method: str, path: str, route: Route) -> None:
        """Send the request of a route twice, check the replay, and roll back."""
        ids = {
            "organization_id": self.acme.pk,
            "workspace_id": self.workspace.pk,
            "user_id": self.viewer.pk,
            "data_source_id": self.data_source.pk,
            "version": 1,
        }
        sent: dict[str, Any] = {
            "method": method,
            "path": path.format(**ids),
            "body": route.body_for(ids),
            "user": self.owner,
        }
        with transaction.atomic():
            route.prepare(DataSource.objects.get(pk=self.data_source.pk))
            sent["headers"] = route.headers()
            first = self.keyed(**sent)
            self.assertEqual(first.status_code, route.success, first.content)
            self.assertEqual(IdempotencyRecord.objects.get().organization, self.acme)
            self.assert_replayed(self.keyed(**sent), first)
            transaction.set_rollback(True)

    def test_put_get_and_delete_ignore_the_idempotency_key(self):
        path = f"{self.path}/credentials"
        for username in ("a", "b"):
            response = self.keyed({"username": username}, method="put", path=path)
            self.assertEqual(response.json()["data"]["username"], username)
        self.assertEqual(self.keyed(method="get", key="").status_code, 200)
        self.assertEqual(self.keyed(method="delete", key="", user=self.admin).status_code, 204)
        self.assertFalse(IdempotencyRecord.objects.exists())

    def test_responses_with_tokens_are_not_stored(self):
        body = {"username": "edith", "password": PASSWORD}
        answers = [self.keyed(body, method="post", path="/auth/token") for _ in range(2)]
        self.assertEqual([answer.status_code for answer in answers], [200, 200])
        tokens = {"refresh_token": answers[0].json()["data"]["refresh_token"]}
        sent = {"body": tokens, "method": "post", "path": "/auth/token/refresh"}
        self.assertEqual([self.keyed(**sent).status_code for _ in range(2)], [200, 401])
        self.assertFalse(IdempotencyRecord.objects.exists())

    def test_quoted_and_unquoted_idempotency_keys_are_equal(self):
        first = self.keyed({"port": 5433}, key='a "b" \\')
        for key in ('"a \\"b\\" \\\\"', '  a "b" \\ '):
            self.assert_replayed(self.keyed({"port": 5433}, key=key), first)

    def test_idempotency_key_needs_1_to_255_printable_characters(self):
        for key in ("a" * 255, '"' + "a" * 255 + '"', "~!", '"a,b"', "a,b", '"\\"" '):
            with self.subTest(key=key):
                self.assertEqual(self.keyed({}, key=key).status_code, 200)
        for key in (
            *("", " ", '""', '"', '"a', '"a"b"', '"a";x=1', '"a", "b"', '"\\a"', "a\tb", "ключ"),
            *("é", "a\x7f", "a" * 256, '"' + "a" * 256 + '"'),
        ):
            with self.subTest(key=key):
                response = self.keyed({"port": 5433}, key=key)
                self.assert_error(response, 400, "BAD_REQUEST", "Idempotency-Key")
                response = self.keyed({"port": 5433}, key=key, user=self.loner)
                self.assert_error(response, 403, "FORBIDDEN")
        self.assertEqual(self.stored()["port"], 5432)

    def test_long_quoted_idempotency_key_is_refused_by_its_length(self):
        for key in ('"' + "a" * 800_000, '"' + '\\"' * 400_000 + '"', '"' + "a" * 511):
            tracemalloc.start()
            with self.subTest(key[:3]), self.assertRaises(ValidationError):
                read_key(key)
            self.assertLess(tracemalloc.get_traced_memory()[1], 100_000)
            tracemalloc.stop()
        self.assertEqual(read_key('"' + '\\"' * 255 + '"'), '"' * 255)

    def test_idempotency_key_expires_after_a_day(self):
        self.keyed({"port": 5433})
        IdempotencyRecord.objects.update(
            stored_at=timezone.now() - ANSWERS_KEPT_FOR + timedelta(minutes=1)
        )
        self.assertIn("Idempotency-Replayed", self.keyed({"port": 5433}))
        IdempotencyRecord.objects.update(stored_at=timezone.now() - ANSWERS_KEPT_FOR)
        first = self.keyed({"port": 5434})
        self.assertEqual((first.status_code, self.stored()["port"]), (200, 5434))
        self.assert_replayed(self.keyed({"port": 5434}), first)
        # Answers expire by the database's clock: a wrong clock of a web server changes nothing.
        with time_machine.travel(timezone.now() + 2 * ANSWERS_KEPT_FOR):
            again = self.keyed({"port": 5434})
        self.assert_replayed(again, first)

    def test_removed_or_deactivated_user_gets_no_replay(self):
        self.keyed({"port": 5433})
        Membership.objects.filter(user=self.editor).delete()
        self.assert_error(self.keyed({"port": 5433}), 403, "FORBIDDEN")
        self.assert_error(self.keyed({"port": 1}), 403, "FORBIDDEN")
        Membership.objects.create(user=self.editor, organization=self.globex)
        self.assert_error(self.keyed({"port": 5433}), 404, "NOT_FOUND")
        membership = Membership.objects.create(user=self.editor, organization=self.acme)
        self.assertIn("Idempotency-Replayed", self.keyed({"port": 5433}))
        self.assertEqual(membership.role, Role.VIEWER)
        User.objects.filter(pk=self.editor.pk).update(is_active=False)
        self.assert_error(self.keyed({"port": 5433}), 401, "UNAUTHORIZED")

    def test_removing_a_member_deletes_its_idempotency_keys(self):
        self.keyed({"port": 5433})
        Membership.objects.get(user=self.editor).remove()
        self.assertFalse(IdempotencyRecord.objects.exists())

    def test_deleting_a_user_or_organization_deletes_its_idempotency_keys(self):
        self.keyed({"port": 5433})
        self.keyed({"port": 5434}, user=self.admin)
        User.objects.get(pk=self.admin.pk).delete()
        self.assertEqual(IdempotencyRecord.objects.count(), 1)
        Organization.objects.get(pk=self.acme.pk).remove()
        self.assertFalse(IdempotencyRecord.objects.exists())

    def test_secrets_in_a_body_are_not_stored(self):
        secret = "correct horse"
        sent = {"body": {"password": secret}, "path": f"{self.path}/credentials"}
        first = self.keyed(**sent)
        self.assertEqual(first.status_code, 200)
        self.assertIn("Idempotency-Replayed", self.keyed(**sent))
        with connection.cursor() as cursor:
            cursor.execute("SELECT kept::text FROM organizations_idempotencyrecord AS kept")
            [[text]] = cursor.fetchall()
        for form in (secret, secret.encode().hex()):
            self.assertNotIn(form, text)
        [kept] = IdempotencyRecord.objects.all()
        with self.settings(SECRET_KEY="another"):
            self.assert_error(self.keyed(**sent), 422, "IDEMPOTENCY_KEY_REUSED")
        with self.settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=["x", settings.SECRET_KEY]):
            self.assertIn("Idempotency-Replayed", self.keyed(**sent))
        self.assertEqual(len(kept.fingerprint), 64)

    def test_requests_without_idempotency_key_need_no_additional_statements(self):
        with self.statements() as captured:
            self.call("patch", self.path, {"port": 5433}, self.editor)
        self.assertEqual(len(sql(captured)), 2, captured.captured_queries)
        with self.statements() as captured:
            self.keyed({"port": 5434})
        self.assertEqual(len(sql(captured)), 5, captured.captured_queries)

    def test_change_is_rolled_back_if_its_response_cannot_be_stored(self):
        with mock.patch.object(KeyedRequest, "store", side_effect=OperationalError):
            response = self.keyed({"port": 5433})
            self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
            response = self.keyed(NEW, method="post", path="/data-sources")
            self.assert_error(response, 503, "SERVICE_UNAVAILABLE")
        self.assertEqual(self.stored()["port"], 5432)
        self.assertFalse(DataSource.objects.filter(name="New").exists())

    def test_too_large_body_with_an_idempotency_key_is_413(self):
        body = b'{"description": "' + b"a" * 1024 * 1024 + b'"}'
        self.assert_error(self.keyed(body), 413, "PAYLOAD_TOO_LARGE")


class ConcurrentIdempotencyTests(KeyedMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def at_once(self, **sent: Any) -> list[Any]:
        """Send a request from many clients at the same time; return the responses."""
        start = Barrier(THREADS, timeout=BARRIER_TIMEOUT)

        def send(_: int) -> Any:
            start.wait()
            try:
                return self.keyed(**sent)
            finally:
                connection.close()

        with ThreadPoolExecutor(THREADS) as pool:
            return [*pool.map(send, range(THREADS))]

    def assert_done_once(self, answers: list[Any], status: int) -> None:
        """Check that one response is original, and the others are replays or 409."""
        done = [answer for answer in answers if answer.status_code == status]
        for answer in answers:
            if answer.status_code != status:
                self.assert_error(answer, 409, "IDEMPOTENCY_KEY_IN_USE")
                self.assertEqual(answer["Retry-After"], "1")
        self.assertEqual(len({answer.content for answer in done}), 1)
        self.assertEqual(sum("Idempotency-Replayed" not in answer for answer in done), 1)

    def test_concurrent_creates_of_a_workspace_create_one(self):
        path = f"/organizations/{self.acme.pk}/workspaces"
        body = {"name": "Lake"}
        answers = self.at_once(method="post", path=path, body=body, user=self.admin)
        self.assert_done_once(answers, 201)
        self.assertEqual(Workspace.objects.filter(name="Lake").count(), 1)

    def test_concurrent_creates_of_a_data_source_create_one(self):
        self.assert_done_once(self.at_once(method="post", path="/data-sources", body=NEW), 201)
        self.assertEqual(DataSource.objects.filter(name="New").count(), 1)

    def test_concurrent_updates_make_one_change(self):
        self.assert_done_once(self.at_once(body={"port": 5433}), 200)
        self.assertEqual(self.stored()["version"], 2)

    def test_concurrent_connection_tests_start_one(self):
        enter_password(self.data_source)
        path = f"{self.path}/test"
        self.assert_done_once(self.at_once(method="post", path=path), 202)
        self.assertEqual(self.data_source.connection_tests.count(), 1)

    def test_idempotency_key_of_a_request_in_flight_is_409(self):
        first = Thread(target=self.send_and_keep, args=[{"port": 5433}])
        with transaction.atomic():
            DataSource.objects.for_update().get(pk=self.data_source.pk)
            first.start()
            self.wait_for_lock(first)
            response = self.keyed({"port": 5433})
            self.assert_error(response, 409, "IDEMPOTENCY_KEY_IN_USE")
            self.assertEqual(self.keyed({}, key="other", path="/none").status_code, 404)
        first.join()
        self.assert_replayed(self.keyed({"port": 5433}), self.response)

    def send_and_keep(self, body: Any) -> None:
        self.response = self.keyed(body)
        connection.close()

    def test_request_with_a_key_is_retried_after_a_deadlock(self):
        for sent in (
            {"body": {"port": 5433}},
            {"method": "post", "path": "/data-sources", "body": NEW},
        ):
            with self.subTest(sent), deadlock_once() as failed:
                first = self.keyed(key=str(sent), **sent)
                self.assertTrue(failed)
                self.assertLess(first.status_code, 300, first.content)
                self.assert_replayed(self.keyed(key=str(sent), **sent), first)
        self.assertEqual(self.stored()["version"], 2)

    def test_worker_deletes_expired_idempotency_keys(self):
        self.keyed({"port": 5433}, key="old")
        IdempotencyRecord.objects.update(
            stored_at=timezone.now() - ANSWERS_KEPT_FOR - timedelta(seconds=1)
        )
        self.keyed({"port": 5434}, key="new")
        defer_periodic(delete_idempotency_records)
        run_jobs()
        self.assertEqual(IdempotencyRecord.objects.get().key, "new")
