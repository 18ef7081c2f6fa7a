"""Concurrent requests: all wait for the same lock, which is then released."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from django.test import Client, TransactionTestCase
from django.utils import timezone
from rest_framework_simplejwt.tokens import RefreshToken

from datasources.models import DataSource
from organizations.models import (
    Membership,
    Organization,
    Role,
    User,
    Workspace,
)
from organizations.sign_in.models import UsedRefreshToken
from organizations.testing import PASSWORD, APITestMixin, blocked_connections

Request = tuple[Any, ...]


class ConcurrencyTests(APITestMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()
        # Otto owns Acme too, and often changes it at the same moment as Olivia.
        self.second_owner = self.make_user("otto", self.acme, Role.OWNER)
        self.second = self.acme.workspaces.create(name="Second")
        self.path = f"/organizations/{self.acme.pk}"

    def race(self, hold: Callable[[], Any], *requests: Request, commit: bool = False) -> list[Any]:
        """Send requests while the changes of `hold` are uncommitted, until all wait for its locks.

        Then roll back or commit, and return the responses, the lowest status first.
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
            return request[0]() if callable(request[0]) else self.call(*request)
        finally:
            connections.close_all()

    def await_blocked(self, futures: list[Future]) -> None:
        while blocked_connections() < len(futures):
            if any(future.done() for future in futures):
                self.fail("A request did not wait for the lock.")

    def lock(self) -> None:
        Organization.objects.lock(self.acme.pk)

    def owners(self) -> int:
        return Membership.objects.filter(organization=self.acme, role=Role.OWNER).count()

    def test_two_exchanges_of_a_refresh_token_yield_one_pair_of_tokens(self):
        token = RefreshToken.for_user(self.editor)
        expires_at = timezone.now() + timedelta(days=7)
        won, lost = self.race(
            lambda: UsedRefreshToken.objects.create(jti=token["jti"], expires_at=expires_at),
            *[("post", "/auth/token/refresh", {"refresh_token": str(token)})] * 2,
        )
        self.assertEqual(won.status_code, 200)
        self.assert_error(lost, 401, "UNAUTHORIZED")
        self.assertEqual(UsedRefreshToken.objects.count(), 1)

    def test_of_two_owners_who_remove_each_other_one_remains(self):
        won, lost = self.race(
            self.lock,
            ("delete", f"{self.path}/members/{self.second_owner.pk}", None, self.owner),
            ("delete", f"{self.path}/members/{self.owner.pk}", None, self.second_owner),
        )
        self.assertEqual(won.status_code, 204)
        # The other caller is no longer an owner.
        self.assert_error(lost, 403, "FORBIDDEN")
        self.assertEqual(self.owners(), 1)

    def test_of_two_owners_who_demote_each_other_one_remains(self):
        won, lost = self.race(
            self.lock,
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
        # The other caller is no longer an owner.
        self.assert_error(lost, 403, "FORBIDDEN")
        self.assertEqual(self.owners(), 1)

    def test_of_two_owners_who_leave_concurrently_one_remains(self):
        won, lost = self.race(
            self.lock,
            ("delete", f"{self.path}/members/{self.owner.pk}", None, self.owner),
            ("delete", f"{self.path}/members/{self.second_owner.pk}", None, self.second_owner),
        )
        self.assertEqual(won.status_code, 204)
        self.assert_error(lost, 409, "CONFLICT")
        self.assertEqual(self.owners(), 1)

    def test_of_the_last_two_workspaces_removed_concurrently_one_remains(self):
        won, lost = self.race(
            self.lock,
            ("delete", f"{self.path}/workspaces/{self.workspace.pk}", None, self.admin),
            ("delete", f"{self.path}/workspaces/{self.second.pk}", None, self.owner),
        )
        self.assertEqual(won.status_code, 204)
        self.assert_error(lost, 409, "CONFLICT")
        self.assertEqual(self.acme.workspaces.count(), 1)

    def test_two_requests_for_a_workspace_name_create_one_workspace(self):
        won, lost = self.race(
            lambda: self.acme.workspaces.create(name="Lake"),
            ("post", f"{self.path}/workspaces", {"name": "Lake"}, self.admin),
            ("post", f"{self.path}/workspaces", {"name": "Lake"}, self.owner),
        )
        self.assertEqual(won.status_code, 201)
        self.assert_error(lost, 400, "BAD_REQUEST", "name")
        self.assertEqual(self.acme.workspaces.filter(name="Lake").count(), 1)

    def test_a_name_that_is_taken_meanwhile_is_refused_in_the_admin(self):
        clients = [Client(raise_request_exception=False) for _ in range(2)]
        for number, client in enumerate(clients):
            client.force_login(User.objects.create_superuser(f"root-{number}"))
        user = {"username": "ana", "usable_password": "true"}
        user |= {"password1": PASSWORD, "password2": PASSWORD}
        organization = {"name": "Lake", "slug": "lake"}
        organization |= {"memberships-TOTAL_FORMS": 1, "memberships-INITIAL_FORMS": 0}
        organization |= {"memberships-0-user": self.owner.pk, "memberships-0-role": "owner"}
        for page, form, rows, field in (
            ("organizations/user", user, User.objects, "username"),
            ("organizations/organization", organization, Organization.objects, "slug"),
            ("auth/group", {"name": "ops"}, Group.objects, "name"),
        ):
            value, path = form[field], f"/admin/{page}/add/"
            responses = self.race(
                partial(rows.create, **{name: form[name] for name in {field, "name"} & {*form}}),
                *((partial(one.post, path, form, follow=True),) for one in clients),
            )
            with self.subTest(page):
                self.assertEqual([response.status_code for response in responses], [200, 200])
                texts = [response.content.decode() for response in responses]
                self.assertEqual(sum("Nothing was saved. Another request" in t for t in texts), 1)
                self.assertEqual(rows.filter(**{field: value}).count(), 1)

    def test_two_requests_to_add_a_member_create_one_membership(self):
        data = {"username": "leo", "role": "viewer"}
        won, lost = self.race(
            lambda: Membership.objects.create(user=self.loner, organization=self.acme),
            ("post", f"{self.path}/members", data, self.admin),
            ("post", f"{self.path}/members", data, self.owner),
        )
        self.assertEqual(won.status_code, 201)
        self.assert_error(lost, 400, "BAD_REQUEST", "username")
        self.assertEqual(Membership.objects.filter(user=self.loner).count(), 1)

    def test_renaming_a_concurrently_removed_workspace_is_404(self):
        (response,) = self.race(
            lambda: Workspace.objects.filter(pk=self.second.pk).delete(),
            ("patch", f"{self.path}/workspaces/{self.second.pk}", {"name": "Lake"}, self.admin),
            commit=True,
        )
        self.assertFalse(Workspace.objects.filter(pk=self.second.pk).exists())
        self.assert_error(response, 404, "NOT_FOUND")

    def test_changing_a_concurrently_removed_member_is_404(self):
        (response,) = self.race(
            lambda: Membership.objects.filter(user=self.viewer).delete(),
            ("patch", f"{self.path}/members/{self.viewer.pk}", {"role": "editor"}, self.admin),
            commit=True,
        )
        self.assertFalse(Membership.objects.filter(user=self.viewer).exists())
        self.assert_error(response, 404, "NOT_FOUND")

    def test_updating_a_concurrently_removed_organization_is_404(self):
        # The caller stays a member of Globex: a member of no organization would get 403.
        Membership.objects.create(user=self.admin, organization=self.globex)
        (response,) = self.race(
            lambda: Organization.objects.get(pk=self.acme.pk).delete(),
            ("patch", self.path, {"name": "Mine"}, self.admin),
            commit=True,
        )
        self.assertFalse(Organization.objects.filter(pk=self.acme.pk).exists())
        self.assert_error(response, 404, "NOT_FOUND")

    def test_removing_a_workspace_of_a_concurrently_removed_organization_is_404(self):
        Membership.objects.create(user=self.admin, organization=self.globex)
        (response,) = self.race(
            lambda: Organization.objects.get(pk=self.acme.pk).delete(),
            ("delete", f"{self.path}/workspaces/{self.second.pk}", None, self.admin),
            commit=True,
        )
        self.assertFalse(Workspace.objects.filter(organization=self.acme).exists())
        self.assert_error(response, 404, "NOT_FOUND")

    def test_an_organization_is_removed_while_a_data_source_is_created(self):
        body = {"name": "Lake", "type": "csv", "workspace_id": self.second.pk}
        self.assert_removed_during(self.lock, ("post", "/data-sources", body, self.editor))

    def test_an_organization_is_removed_while_a_workspace_is_added(self):
        request = ("post", f"{self.path}/workspaces", {"name": "Third"}, self.admin)
        self.assert_removed_during(self.lock, request)

    def test_an_organization_is_removed_while_a_member_is_added(self):
        body = {"username": "leo", "role": "viewer"}
        self.assert_removed_during(self.lock, ("post", f"{self.path}/members", body, self.admin))

    def test_an_organization_is_removed_while_a_data_source_is_updated(self):
        data_source = DataSource.objects.create(workspace=self.second, name="Lake", type="csv")
        self.assert_removed_during(
            lambda: DataSource.objects.for_update().get(pk=data_source.pk),
            ("patch", f"/data-sources/{data_source.pk}", {"port": 1}, self.editor),
        )

    def assert_removed_during(self, hold: Callable[[], Any], request: Request) -> None:
        """Remove Acme during another request; in either order, no request may fail with a 5xx."""
        responses = self.race(hold, ("delete", self.path, None, self.owner), request)
        statuses = {response.status_code for response in responses}
        self.assertIn(204, statuses)
        self.assertLess(max(statuses), 500)
        self.assertFalse(Organization.objects.filter(pk=self.acme.pk).exists())

    def test_an_admin_cannot_demote_a_concurrently_promoted_owner(self):
        membership = Membership.objects.get(user=self.editor)
        for method, body in (("patch", {"role": "viewer"}), ("delete", None)):
            with self.subTest(method=method):
                Membership.objects.filter(user=self.editor).update(role=Role.EDITOR)
                (response,) = self.race(
                    lambda: membership.change_role(Role.OWNER),
                    (method, f"{self.path}/members/{self.editor.pk}", body, self.admin),
                    commit=True,
                )
                self.assert_error(response, 403, "FORBIDDEN")
                self.assertEqual(Membership.objects.get(user=self.editor).role, Role.OWNER)

    def test_a_change_by_a_concurrently_deleted_user_is_409(self):
        data_source = DataSource.objects.create(workspace=self.second, name="Lake", type="csv")

        def delete_user() -> None:
            DataSource.objects.for_update().get(pk=data_source.pk)
            User.objects.get(pk=self.editor.pk).delete()

        (response,) = self.race(
            delete_user,
            ("patch", f"/data-sources/{data_source.pk}", {"port": 1}, self.editor),
            commit=True,
        )
        self.assert_error(response, 409, "CONFLICT")
        data_source.refresh_from_db()
        self.assertEqual(data_source.version, 1)

    def test_creating_a_data_source_as_a_concurrently_deleted_user_is_409(self):
        def delete_user() -> None:
            self.lock()
            User.objects.get(pk=self.editor.pk).delete()

        data = {"workspace_id": self.second.pk, "name": "Lake", "type": "csv"}
        (response,) = self.race(
            delete_user, ("post", "/data-sources", data, self.editor), commit=True
        )
        self.assert_error(response, 409, "CONFLICT")
        self.assertFalse(DataSource.objects.exists())

    def test_adding_a_concurrently_deleted_user_as_a_member_is_409(self):
        def delete_user() -> None:
            self.lock()
            User.objects.get(pk=self.loner.pk).delete()

        data = {"username": "leo", "role": "viewer"}
        (response,) = self.race(
            delete_user, ("post", f"{self.path}/members", data, self.admin), commit=True
        )
        self.assert_error(response, 409, "CONFLICT")

    def test_a_workspace_that_gets_a_data_source_concurrently_remains(self):
        def fill() -> None:
            DataSource.objects.create(workspace=self.second, name="Lake", type="postgresql")
            with connection.cursor() as cursor:
                cursor.execute(
                    "SET CONSTRAINTS ALL IMMEDIATE"
                )  # check the constraints now, as the commit would

        (response,) = self.race(
            fill,
            ("delete", f"{self.path}/workspaces/{self.second.pk}", None, self.admin),
            commit=True,
        )
        self.assertTrue(Workspace.objects.filter(pk=self.second.pk).exists())
        self.assert_error(response, 409, "CONFLICT")

    def test_creating_a_data_source_in_a_concurrently_removed_workspace_is_400(self):
        data = {"workspace_id": self.second.pk, "name": "Lake", "type": "postgresql"}
        (response,) = self.race(
            lambda: Workspace.objects.filter(pk=self.second.pk).delete(),
            ("post", "/data-sources", data, self.editor),
            commit=True,
        )
        self.assertFalse(DataSource.objects.exists())
        self.assert_error(response, 400, "BAD_REQUEST", "workspace_id")
