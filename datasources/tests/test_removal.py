"""Removals that meet requests which add something to what is removed, each on its own connection.

Nothing but the removal may make such a request fail, and such a request may not make it fail.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest import mock

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import IntegrityError, connection, connections, transaction
from django.test import TransactionTestCase

from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.throttling import ConnectionTestThrottle
from datasources.models import DataSource
from datasources.testing import ADMIN_PAGES, DataSourceTestMixin, admin_client
from organizations.models import Membership, Organization, Role, User

ROUNDS = 25
# Seconds after which a thread stops waiting for a thread that failed.
BARRIER_TIMEOUT = 60
Send = Callable[[], Any]


class RemovalTests(DataSourceTestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()
        # Both stay in Globex: members of no organization would get 403.
        Membership.objects.create(user=self.editor, organization=self.globex, role=Role.EDITOR)
        Membership.objects.create(user=self.owner, organization=self.globex, role=Role.EDITOR)
        self.enterContext(mock.patch.object(ConnectionTestThrottle, "limit", 1_000_000))
        self.deadlocks_before = deadlocks()

    def tearDown(self) -> None:
        self.assertEqual(deadlocks(), self.deadlocks_before, "Deadlocks, each resolved by a retry")

    def race(self, *requests: Send) -> list[Any]:
        """Send requests at the same moment, and return the responses in their order."""
        start = threading.Barrier(len(requests), timeout=BARRIER_TIMEOUT)

        def send(request: Send) -> Any:
            try:
                start.wait()
                return request()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(requests)) as pool:
            return [*pool.map(send, requests)]

    def sender(self, method: str, path: str, body: Any = None, user: Any = None, **x: Any) -> Send:
        return lambda: self.call(method, path, body, user or self.editor, **x)

    def make_source(self, name: str, organization: Organization | None = None) -> DataSource:
        workspace = (organization or self.acme).workspaces.get()
        return DataSource.objects.create(
            workspace=workspace, name=name, type="postgresql", host="db.example.com"
        )

    def adding(self, source: DataSource, number: int) -> list[Send]:
        """Return requests that each add a row which refers to the data source."""
        path = f"/data-sources/{source.pk}"
        key = {"Idempotency-Key": f"{source.pk}-{number}"}
        many = {"updates": [{"id": source.pk, "description": f"{number}"}]}
        return [
            self.sender("post", f"{path}/test"),
            self.sender("post", "/data-sources/test", {"ids": [source.pk]}),
            self.sender("post", f"{path}/schema/refresh"),
            self.sender("patch", path, {"port": number + 1}, headers=key),
            self.sender("patch", "/data-sources?atomic=false", many),
        ]

    def assert_added_or_missing(self, responses: list[Any]) -> None:
        statuses = [response.status_code for response in responses]
        texts = [response.content[:200] for response in responses]
        self.assertLessEqual({*statuses}, {200, 202, 404}, texts)

    def test_data_source_is_deleted_while_much_is_added_to_it(self) -> None:
        for number in range(ROUNDS):
            source = self.make_source(f"S{number}")
            tests = [self.sender("post", f"/data-sources/{source.pk}/test")] * 3
            deletion = self.sender("delete", f"/data-sources/{source.pk}", user=self.admin)
            *added, deleted = self.race(*tests, *self.adding(source, number)[1:], deletion)
            self.assertEqual(deleted.status_code, 204, deleted.content)
            self.assert_added_or_missing(added)
            self.assertFalse(DataSource.objects.filter(pk=source.pk).exists())

    def test_nothing_can_refer_to_a_data_source_that_is_being_deleted(self) -> None:
        errors: list[IntegrityError] = []

        def store_test() -> None:
            try:
                ConnectionTest.objects.request(
                    self.data_source.configuration({}), of=self.data_source, is_stored=True
                )
            except IntegrityError as error:
                errors.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=store_test)
        with transaction.atomic():
            DataSource.objects.filter(pk=self.data_source.pk).lock_for_removal()
            thread.start()
            self.wait_for_lock(thread)
            self.assertTrue(thread.is_alive(), "It did not wait for the lock.")
            self.data_source.delete()
        thread.join()
        self.assertEqual(len(errors), 1)

    def test_sources_are_deleted_in_the_admin_while_they_are_changed(self) -> None:
        client = admin_client(self.admin)
        for number in range(ROUNDS):
            sources = [self.make_source(f"S{number}-{one}") for one in range(3)]
            form = {
                "action": "delete_selected",
                "post": "yes",
                ACTION_CHECKBOX_NAME: [source.pk for source in sources],
            }
            changing = [self.adding(source, number)[3] for source in sources]
            testing = [self.adding(source, number)[0] for source in sources]
            *added, deleted = self.race(
                *changing, *testing, partial(client.post, ADMIN_PAGES, form)
            )
            self.assertEqual(deleted.status_code, 302)
            self.assert_added_or_missing(added)
            self.assertFalse(DataSource.objects.filter(name__startswith="S").exists())

    def test_declaration_prunes_sources_while_they_are_changed(self) -> None:
        declared = {"data_sources": [{"name": self.data_source.name}], "organization": "acme"}
        for number in range(ROUNDS):
            sources = [self.make_source(f"S{number}-{one}") for one in range(3)]
            changing = [self.adding(source, number)[number % 5] for source in sources]
            prune = self.sender("post", "/data-sources/apply?prune=true", declared, self.admin)
            *added, pruned = self.race(*changing, prune)
            self.assertEqual(pruned.status_code, 200, pruned.content)
            self.assert_added_or_missing(added)
            self.assertFalse(DataSource.objects.filter(name__startswith="S").exists())

    def test_organization_is_removed_while_much_is_added_to_it(self) -> None:
        for number in range(ROUNDS):
            organization = self.make_organization(number)
            path = f"/organizations/{organization.pk}"
            source = self.make_source("Source", organization)
            member = {"username": "leo", "role": "viewer"}
            new = {
                "name": "New",
                "type": "csv",
                "workspace_id": organization.workspaces.get().pk,
            }
            adding = self.adding(source, number)
            *added, created, joined, removed = self.race(
                *(adding if number % 2 else [adding[0], *adding]),
                self.sender("post", "/data-sources", new),
                self.sender("post", f"{path}/members", member, self.owner),
                self.sender("delete", path, user=self.owner),
            )
            self.assertEqual(removed.status_code, 204, removed.content)
            self.assert_added_or_missing(added)
            self.assertIn(created.status_code, (201, 400), created.content)
            self.assertIn(joined.status_code, (201, 404), joined.content)
            self.assertFalse(Organization.objects.filter(pk=organization.pk).exists())

    def test_workspace_is_removed_or_gets_a_data_source(self) -> None:
        for number in range(ROUNDS):
            path = f"/organizations/{self.acme.pk}/workspaces"
            workspace = self.acme.workspaces.create(name=f"W{number}")
            new = {"name": f"S{number}", "type": "csv", "workspace_id": workspace.pk}
            created, removed = self.race(
                self.sender("post", "/data-sources", new),
                self.sender("delete", f"{path}/{workspace.pk}", None, self.owner),
            )
            outcome = (created.status_code, removed.status_code)
            self.assertIn(outcome, ((201, 409), (400, 204)), (created.content, removed.content))

    def test_user_is_deleted_while_the_user_changes_data_sources(self) -> None:
        client = admin_client(self.admin)
        for number in range(ROUNDS):
            user = self.make_user(f"u{number}", self.acme, Role.EDITOR)
            sources = [self.make_source(f"S{number}-{one}") for one in range(2)]
            for source in sources:
                source.apply_changes({"port": 1}, user=user)
            changing = [
                self.sender("patch", f"/data-sources/{source.pk}", {"port": 2}, user)
                for source in sources
            ]
            many = {"updates": [{"id": source.pk, "max_retries": 1} for source in sources]}
            sign_in = {"username": user.username, "password": "correct horse battery staple"}
            *added, tokens, deleted = self.race(
                *changing,
                self.sender("patch", "/data-sources", many, user),
                self.sender("post", f"/data-sources/{sources[0].pk}/test", None, user),
                partial(self.call, "post", "/auth/token", sign_in),
                partial(
                    client.post, f"/admin/organizations/user/{user.pk}/delete/", {"post": "yes"}
                ),
            )
            self.assertEqual(deleted.status_code, 302)
            self.assertFalse(User.objects.filter(pk=user.pk).exists())
            self.assertIn(tokens.status_code, (200, 401), tokens.content)
            statuses = {response.status_code for response in added}
            # 409: the user is gone, and nothing can be stored in the user's name.
            self.assertLessEqual(statuses, {200, 202, 401, 409}, added)

    def make_organization(self, number: int) -> Organization:
        organization = Organization.objects.create(name=f"O{number}", slug=f"o{number}")
        organization.add_member(self.owner, Role.OWNER)
        organization.add_member(self.editor, Role.EDITOR)
        return organization


def deadlocks() -> int:
    """Return how many deadlocks PostgreSQL has ended in this database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
