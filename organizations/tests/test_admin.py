"""Users and organizations in the Django admin."""

from typing import Any

from django.contrib import admin
from django.test import Client, RequestFactory

from datasources.models import DataSource
from organizations.models import Membership, Organization, Role, User, Workspace
from organizations.testing import APITestCase

PAGES = "/admin/organizations/organization/"


class OrganizationAdminTests(APITestCase):
    def setUp(self) -> None:
        staff = User.objects.create_user("staff", is_staff=True, is_superuser=True)
        self.client = Client()
        self.client.force_login(staff)
        self.page = f"{PAGES}{self.acme.pk}/change/"
        self.before = self.roles(), self.workspaces()

    def post(self, page: str, members: Any, workspaces: Any = (), **fields: Any) -> Any:
        """Submit the form of a page with these inline rows; a row that exists has its `id`."""
        data = {"name": "Acme", "slug": "acme", **fields}
        for prefix, rows in (("memberships", members), ("workspaces", workspaces)):
            initial = sum("id" in row for row in rows)
            data |= {f"{prefix}-TOTAL_FORMS": len(rows), f"{prefix}-INITIAL_FORMS": initial}
            for number, row in enumerate(rows):
                data |= {f"{prefix}-{number}-{name}": value for name, value in row.items()}
        return self.client.post(page, data)

    def members(self, **changes: Any) -> list[dict[str, Any]]:
        """Return the inline rows of all members; `changes` has other values by username."""
        return [
            {
                "id": member.pk,
                "user": member.user_id,
                "role": member.role,
                **changes.get(member.user.username, {}),
            }
            for member in self.acme.memberships.select_related("user")
        ]

    def workspaces(self) -> list[dict[str, Any]]:
        return [
            {"id": workspace.pk, "name": workspace.name} for workspace in self.acme.workspaces.all()
        ]

    def roles(self) -> dict[str, str]:
        return dict(self.acme.memberships.values_list("user__username", "role"))

    def assert_refused(self, response: Any, message: str) -> None:
        self.assertContains(response, message)
        self.assertEqual((self.roles(), self.workspaces()), self.before)

    def test_admin_pages_of_organizations_open(self) -> None:
        for page in (
            PAGES,
            f"{PAGES}?q=acme",
            f"{PAGES}add/",
            self.page,
            "/admin/organizations/user/",
        ):
            with self.subTest(page):
                self.assertEqual(self.client.get(page).status_code, 200)

    def test_admin_creates_an_organization_with_an_owner_and_a_workspace(self) -> None:
        rows = [{"user": self.editor.pk, "role": Role.OWNER}]
        response = self.post(f"{PAGES}add/", rows, name="New", slug="new")
        self.assertRedirects(response, PAGES)
        new = Organization.objects.get(slug="new")
        self.assertEqual(new.memberships.get().user, self.editor)
        self.assertEqual(new.workspaces.count(), 1)

    def test_admin_refuses_a_new_organization_without_an_owner(self) -> None:
        for rows in ([], [{"user": self.editor.pk, "role": Role.ADMIN}]):
            with self.subTest(rows):
                response = self.post(f"{PAGES}add/", rows, name="New", slug="new")
                self.assertContains(response, "at least one owner")
        self.assertFalse(Organization.objects.filter(slug="new").exists())

    def test_admin_saves_changes_of_members(self) -> None:
        new = User.objects.create_user("new")
        rows = self.members(
            **{
                self.owner.username: {"role": Role.VIEWER},
                self.editor.username: {"role": Role.OWNER},
                self.viewer.username: {"DELETE": "on"},
            }
        )
        rows.append({"user": new.pk, "role": Role.EDITOR})
        self.assertRedirects(self.post(self.page, rows, self.workspaces()), PAGES)
        expected = self.before[0] | {"new": Role.EDITOR, self.owner.username: Role.VIEWER}
        expected[self.editor.username] = Role.OWNER
        del expected[self.viewer.username]
        self.assertEqual(self.roles(), expected)

    def test_admin_refuses_to_remove_the_last_owner(self) -> None:
        for changes in ({"role": Role.ADMIN}, {"DELETE": "on"}):
            with self.subTest(changes):
                rows = self.members(**{self.owner.username: changes})
                response = self.post(self.page, rows, self.workspaces())
                self.assert_refused(response, "at least one owner")

    def test_the_user_of_a_membership_cannot_be_changed(self) -> None:
        rows = self.members(**{self.viewer.username: {"user": self.stranger.pk}})
        self.post(self.page, rows, self.workspaces())
        self.assertIn(self.viewer.username, self.roles())
        self.assertNotIn(self.stranger.username, self.roles())

    def test_admin_refuses_a_second_membership_of_a_user(self) -> None:
        rows = [*self.members(), {"user": self.viewer.pk, "role": Role.ADMIN}]
        response = self.post(self.page, rows, self.workspaces())
        self.assertEqual(response.status_code, 200)
        self.assertEqual(Membership.objects.filter(user=self.viewer).count(), 1)

    def test_admin_saves_changes_of_workspaces(self) -> None:
        [first] = self.workspaces()
        rows = [{**first, "name": "Renamed"}, {"name": "Second"}]
        self.assertRedirects(self.post(self.page, self.members(), rows), PAGES)
        self.assertEqual([one["name"] for one in self.workspaces()], ["Renamed", "Second"])
        one, other = self.workspaces()
        self.assertRedirects(
            self.post(self.page, self.members(), [{**one, "DELETE": "on"}, other]), PAGES
        )
        self.assertEqual(self.workspaces(), [other])

    def test_admin_refuses_to_delete_the_last_workspace(self) -> None:
        [first] = self.workspaces()
        response = self.post(self.page, self.members(), [{**first, "DELETE": "on"}])
        self.assert_refused(response, "at least one workspace")

    def test_admin_refuses_to_delete_a_workspace_that_is_in_use(self) -> None:
        DataSource.objects.create(workspace=self.workspace, name="Lake", type="csv")
        second = Workspace.objects.create(organization=self.acme, name="Second")
        self.before = self.roles(), self.workspaces()
        rows = [
            {"id": self.workspace.pk, "name": "Default", "DELETE": "on"},
            {"id": second.pk, "name": "Second"},
        ]
        self.assert_refused(self.post(self.page, self.members(), rows), "protected related objects")

    def test_admin_deletes_an_organization_with_its_data_sources(self) -> None:
        DataSource.objects.create(workspace=self.workspace, name="Lake", type="csv")
        response = self.client.post(f"{PAGES}{self.acme.pk}/delete/", {"post": "yes"})
        self.assertRedirects(response, PAGES)
        self.assertFalse(Organization.objects.filter(pk=self.acme.pk).exists())
        self.assertFalse(DataSource.objects.exists())

    def test_deletes_the_selected_organizations_although_one_was_removed_concurrently(self) -> None:
        selected = Organization.objects.all()
        self.assertEqual(len(selected), 2)  # read before the other request
        self.globex.remove()
        request = RequestFactory().post(PAGES)
        admin.site.get_model_admin(Organization).delete_queryset(request, selected)
        self.assertFalse(Organization.objects.exists())

    def test_delete_page_counts_rows_without_listing_them(self) -> None:
        DataSource.objects.create(workspace=self.workspace, name="Lake", type="csv")
        response = self.client.get(f"{PAGES}{self.acme.pk}/delete/")
        for text in (
            "Organizations: 1",
            "Members: 4",
            "Workspaces: 1",
            "Data sources, with their history",
        ):
            with self.subTest(text):
                self.assertContains(response, text)
        self.assertNotContains(response, "Lake")

    def test_workspaces_are_edited_only_on_the_page_of_their_organization(self) -> None:
        self.assertNotContains(self.client.get("/admin/"), "/admin/organizations/workspace/")
        page = f"/admin/organizations/workspace/{self.workspace.pk}/"
        self.assertContains(self.client.get(f"{page}change/"), "Default of Acme")
        for response in (
            self.client.post(f"{page}change/", {"name": "New"}),
            self.client.post(f"{page}delete/", {"post": "yes"}),
            self.client.get("/admin/organizations/workspace/add/"),
        ):
            self.assertEqual(response.status_code, 403)
        self.assertEqual((self.roles(), self.workspaces()), self.before)

    def test_staff_without_permissions_get_403(self) -> None:
        client = Client()
        client.force_login(User.objects.create_user("other", is_staff=True))
        self.assertEqual(client.get(self.page).status_code, 403)
