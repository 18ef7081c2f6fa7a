"""Requests at the same moment: each waits for the same lock, and all are let go at once."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from django.db import connection, connections, transaction
from django.test import TransactionTestCase
from django.utils import timezone
from rest_framework_simplejwt.tokens import RefreshToken

from datasources.models import DataSource
from organizations.models import Membership, Organization, Role, UsedRefreshToken, Workspace
from organizations.testing import APITestMixin

Request = tuple[Any, ...]


class ConcurrencyTests(APITestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()
        # Otto owns Acme too, and never agrees with Olivia.
        self.second_owner = self.make_user("otto", self.acme, Role.OWNER)
        self.second = self.acme.workspaces.create(name="Second")
        self.path = f"/organizations/{self.acme.pk}"

    def race(self, hold: Callable[[], Any], *requests: Request, commit: bool = False) -> list[Any]:
        """Send requests while what `hold` did is uncommitted, until all of them wait for it.

        Then roll it back, or commit it, and give the responses, the lowest status first.
        """
        with ThreadPoolExecutor(len(requests)) as pool:
            with transaction.atomic():
                hold()
                futures = [pool.submit(self.send, *request) for request in requests]
                self.await_blocked(futures)
                transaction.set_rollback(not commit)
            responses = [future.result() for future in futures]
        return sorted(responses, key=lambda response: response.status_code)

    def send(self, *request: Any) -> Any:
        try:
            return self.call(*request)
        finally:
            connections.close_all()

    def await_blocked(self, futures: list[Future]) -> None:
        query = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        blocked = 0
        while blocked < len(futures):
            if any(future.done() for future in futures):
                self.fail("A request did not wait for the lock.")
            with connection.cursor() as cursor:
                cursor.execute(query)
                (blocked,) = cursor.fetchone()

    def lock_owners(self) -> None:
        owners = Membership.objects.filter(organization=self.acme, role=Role.OWNER)
        list(owners.select_for_update())

    def owners(self) -> int:
        return Membership.objects.filter(organization=self.acme, role=Role.OWNER).count()

    def test_one_of_two_gets_tokens_for_one_refresh_token(self):
        token = RefreshToken.for_user(self.editor)
        expires_at = timezone.now() + timedelta(days=7)
        won, lost = self.race(
            lambda: UsedRefreshToken.objects.create(jti=token["jti"], expires_at=expires_at),
            *[("post", "/auth/token/refresh", {"refresh_token": str(token)})] * 2,
        )
        self.assertEqual(won.status_code, 200)
        self.assert_error(lost, 401, "UNAUTHORIZED")
        self.assertEqual(UsedRefreshToken.objects.count(), 1)

    def test_one_of_two_owners_removes_the_other(self):
        won, lost = self.race(
            self.lock_owners,
            ("delete", f"{self.path}/members/{self.second_owner.pk}", None, self.owner),
            ("delete", f"{self.path}/members/{self.owner.pk}", None, self.second_owner),
        )
        self.assertEqual(won.status_code, 204)
        self.assert_error(lost, 409, "CONFLICT")
        self.assertEqual(self.owners(), 1)

    def test_one_of_two_owners_demotes_the_other(self):
        won, lost = self.race(
            self.lock_owners,
            (
                "patch",
                f"{self.path}/members/{self.second_owner.pk}",
                {"role": "viewer"},
                self.owner,
            ),
            (
                "patch",
                f"{self.path}/members/{self.owner.pk}",
                {"role": "viewer"},
                self.second_owner,
            ),
        )
        self.assertEqual(won.status_code, 200)
        self.assert_error(lost, 409, "CONFLICT")
        self.assertEqual(self.owners(), 1)

    def test_one_of_two_owners_leaves(self):
        won, lost = self.race(
            self.lock_owners,
            ("delete", f"{self.path}/members/{self.owner.pk}", None, self.owner),
            ("delete", f"{self.path}/members/{self.second_owner.pk}", None, self.second_owner),
        )
        self.assertEqual(won.status_code, 204)
        self.assert_error(lost, 409, "CONFLICT")
        self.assertEqual(self.owners(), 1)

    def test_one_of_two_last_workspaces_goes(self):
        won, lost = self.race(
            lambda: Organization.objects.select_for_update().get(pk=self.acme.pk),
            ("delete", f"{self.path}/workspaces/{self.workspace.pk}", None, self.admin),
            ("delete", f"{self.path}/workspaces/{self.second.pk}", None, self.owner),
        )
        self.assertEqual(won.status_code, 204)
        self.assert_error(lost, 409, "CONFLICT")
        self.assertEqual(self.acme.workspaces.count(), 1)

    def test_one_of_two_gets_the_name_of_a_workspace(self):
        won, lost = self.race(
            lambda: self.acme.workspaces.create(name="Lake"),
            ("post", f"{self.path}/workspaces", {"name": "Lake"}, self.admin),
            ("post", f"{self.path}/workspaces", {"name": "Lake"}, self.owner),
        )
        self.assertEqual(won.status_code, 201)
        self.assert_error(lost, 400, "BAD_REQUEST", "name")
        self.assertEqual(self.acme.workspaces.filter(name="Lake").count(), 1)

    def test_one_of_two_adds_a_member(self):
        data = {"username": "leo", "role": "viewer"}
        won, lost = self.race(
            lambda: Membership.objects.create(user=self.loner, organization=self.acme),
            ("post", f"{self.path}/members", data, self.admin),
            ("post", f"{self.path}/members", data, self.owner),
        )
        self.assertEqual(won.status_code, 201)
        self.assert_error(lost, 400, "BAD_REQUEST", "username")
        self.assertEqual(Membership.objects.filter(user=self.loner).count(), 1)

    def test_a_workspace_that_is_removed_meanwhile_is_not_found(self):
        (response,) = self.race(
            lambda: Workspace.objects.filter(pk=self.second.pk).delete(),
            ("patch", f"{self.path}/workspaces/{self.second.pk}", {"name": "Lake"}, self.admin),
            commit=True,
        )
        self.assertFalse(Workspace.objects.filter(pk=self.second.pk).exists())
        self.assert_error(response, 404, "NOT_FOUND")

    def test_a_member_that_is_removed_meanwhile_is_not_found(self):
        (response,) = self.race(
            lambda: Membership.objects.filter(user=self.viewer).delete(),
            ("patch", f"{self.path}/members/{self.viewer.pk}", {"role": "editor"}, self.admin),
            commit=True,
        )
        self.assertFalse(Membership.objects.filter(user=self.viewer).exists())
        self.assert_error(response, 404, "NOT_FOUND")

    def test_an_organization_that_is_removed_meanwhile_is_not_found(self):
        # The caller stays a member of Globex: a member of nothing would be told so.
        Membership.objects.create(user=self.admin, organization=self.globex)
        (response,) = self.race(
            lambda: Organization.objects.get(pk=self.acme.pk).delete(),
            ("patch", self.path, {"name": "Mine"}, self.admin),
            commit=True,
        )
        self.assertFalse(Organization.objects.filter(pk=self.acme.pk).exists())
        self.assert_error(response, 404, "NOT_FOUND")

    def test_no_workspace_is_found_in_an_organization_that_is_removed_meanwhile(self):
        Membership.objects.create(user=self.admin, organization=self.globex)
        (response,) = self.race(
            lambda: Organization.objects.get(pk=self.acme.pk).delete(),
            ("delete", f"{self.path}/workspaces/{self.second.pk}", None, self.admin),
            commit=True,
        )
        self.assertFalse(Workspace.objects.filter(organization=self.acme).exists())
        self.assert_error(response, 404, "NOT_FOUND")

    def test_a_workspace_that_fills_meanwhile_stays(self):
        def fill() -> None:
            DataSource.objects.create(workspace=self.second, name="Lake", type="postgresql")
            with connection.cursor() as cursor:
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as at the commit

        (response,) = self.race(
            fill,
            ("delete", f"{self.path}/workspaces/{self.second.pk}", None, self.admin),
            commit=True,
        )
        self.assertTrue(Workspace.objects.filter(pk=self.second.pk).exists())
        self.assert_error(response, 409, "CONFLICT")

    def test_no_data_source_is_created_in_a_workspace_that_goes_meanwhile(self):
        data = {"workspace_id": self.second.pk, "name": "Lake", "type": "postgresql"}
        (response,) = self.race(
            lambda: Workspace.objects.filter(pk=self.second.pk).delete(),
            ("post", "/data-sources", data, self.editor),
            commit=True,
        )
        self.assertFalse(DataSource.objects.exists())
        self.assert_error(response, 400, "BAD_REQUEST", "workspace_id")
