"""The workspaces of an organization: /api/v1/organizations/{organization_id}/workspaces."""

from typing import Any

from datasources.models import DataSource
from organizations.models import User, Workspace
from organizations.testing import APITestCase

INVALID_NAMES = ("", "   ", "x" * 256, "a\0b", None, 7, True, ["Lake"], {"name": "Lake"})


class WorkspaceTests(APITestCase):
    path: str
    second: Workspace

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.path = f"/organizations/{cls.acme.pk}/workspaces"
        cls.second = cls.acme.workspaces.create(name="Second")

    def names(self) -> list[tuple[str, str]]:
        return [*Workspace.objects.values_list("organization__name", "name")]

    def add(self, data: Any, user: User | None = None, **extra: Any) -> Any:
        return self.call("post", self.path, data, user or self.admin, **extra)

    def patch(self, data: Any, user: User | None = None, **extra: Any) -> Any:
        path = f"{self.path}/{self.second.pk}"
        return self.call("patch", path, data, user or self.admin, **extra)

    def remove(self, workspace: Workspace, user: User | None = None) -> Any:
        return self.call("delete", f"{self.path}/{workspace.pk}", user=user or self.admin)

    def test_every_role_lists_workspaces(self):
        for user in (self.viewer, self.editor, self.admin, self.owner):
            with self.subTest(user=user.username):
                response = self.call("get", self.path, user=user)
                self.assertEqual(response.status_code, 200)
                data = response.json()["data"]
                self.assertEqual([item["name"] for item in data], ["Default", "Second"])
                self.assertEqual(list(data[0]), ["id", "organization_id", "name", "created_at"])
                self.assertEqual(data[0]["organization_id"], self.acme.pk)

    def test_list_of_workspaces_is_paginated(self):
        first = self.call("get", f"{self.path}?page_size=1", user=self.viewer).json()
        self.assertEqual([item["name"] for item in first["data"]], ["Default"])
        path = first["pagination"]["next"].partition("/api/v1")[2]
        second = self.call("get", path, user=self.viewer).json()
        self.assertEqual([item["name"] for item in second["data"]], ["Second"])
        self.assertIsNone(second["pagination"]["next"])
        path = second["pagination"]["previous"].partition("/api/v1")[2]
        again = self.call("get", path, user=self.viewer).json()
        self.assertEqual(again["data"], first["data"])

    def test_list_of_workspaces_finds_one_by_its_whole_name(self):
        for query, names in (
            ("name=second", ["Second"]),
            ("name=%20Second%20", ["Second"]),
            ("name=Secon", []),
            ("name=Second&page_size=1", ["Second"]),
        ):
            with self.subTest(query=query):
                data = self.call("get", f"{self.path}?{query}", user=self.viewer).json()["data"]
                self.assertEqual([item["name"] for item in data], names)
        for query in ("name=", "name=%20", "name=%00", "name=a&name=b", f"name={'x' * 256}"):
            with self.subTest(query=query[:20]):
                response = self.call("get", f"{self.path}?{query}", user=self.viewer)
                self.assert_error(response, 400, "BAD_REQUEST", "name")

    def test_every_role_gets_one_workspace_as_the_list_shows_it(self):
        [_, listed] = self.call("get", self.path, user=self.viewer).json()["data"]
        for user in (self.viewer, self.editor, self.admin, self.owner):
            with self.subTest(user=user.username):
                response = self.call("get", f"{self.path}/{self.second.pk}", user=user)
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response.json()["data"], listed)

    def test_get_of_a_workspace_takes_no_parameters(self):
        response = self.call("get", f"{self.path}/{self.second.pk}?name=x", user=self.viewer)
        self.assert_error(response, 400, "BAD_REQUEST", "name")

    def test_added_workspace_is_at_its_location(self):
        response = self.add({"name": "New"})
        path = response["Location"].removeprefix("/api/v1")
        self.assertEqual(path, f"{self.path}/{response.json()['data']['id']}")
        again = self.call("get", path, user=self.admin)
        self.assertEqual(again.json()["data"], response.json()["data"])

    def test_workspaces_of_other_organizations_are_404(self):
        before = self.names()
        path = f"/organizations/{self.globex.pk}/workspaces/{self.second.pk}"
        for method, data in (("get", None), ("patch", {"name": "Mine"}), ("delete", None)):
            with self.subTest(method=method):
                response = self.call(method, path, data, self.stranger)
                self.assert_error(response, 404, "NOT_FOUND")
                self.assertEqual(self.names(), before)

    def test_admins_and_owners_add_workspaces(self):
        for user in (self.admin, self.owner):
            with self.subTest(user=user.username):
                response = self.add({"name": f"  By {user.username} "}, user)
                self.assertEqual(response.status_code, 201)
                data = response.json()["data"]
                self.assertEqual(data["name"], f"By {user.username}")
                self.assertEqual(data["organization_id"], self.acme.pk)
                workspace = Workspace.objects.get(pk=data["id"])
                self.assertEqual(workspace.name, f"By {user.username}")

    def test_admins_and_owners_rename_workspaces(self):
        for user in (self.admin, self.owner):
            with self.subTest(user=user.username):
                response = self.patch({"name": f" By {user.username}  "}, user)
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response.json()["data"]["name"], f"By {user.username}")
                self.second.refresh_from_db()
                self.assertEqual(self.second.name, f"By {user.username}")

    def test_admins_and_owners_remove_workspaces(self):
        for user in (self.admin, self.owner):
            with self.subTest(user=user.username):
                workspace = self.acme.workspaces.create(name="Third")
                response = self.remove(workspace, user)
                self.assertEqual((response.status_code, response.content), (204, b""))
                self.assertFalse(Workspace.objects.filter(pk=workspace.pk).exists())

    def test_taken_workspace_name_is_refused(self):
        before = self.names()
        self.assert_error(self.add({"name": "Second"}), 400, "BAD_REQUEST", "name")
        self.assert_error(self.patch({"name": "Default"}), 400, "BAD_REQUEST", "name")
        self.assertEqual(self.names(), before)

    def test_workspace_name_used_in_another_organization_is_accepted(self):
        self.globex.workspaces.create(name="Lake")
        self.assertEqual(self.add({"name": "Lake"}).status_code, 201)

    def test_current_workspace_name_is_accepted(self):
        self.assertEqual(self.patch({"name": "Second"}).status_code, 200)

    def test_an_empty_update_of_a_workspace_changes_nothing(self):
        before = self.names()
        self.assertEqual(self.patch({}).status_code, 200)
        self.assertEqual(self.names(), before)

    def test_the_last_workspace_cannot_be_removed(self):
        self.assertEqual(self.remove(self.second).status_code, 204)
        before = self.names()
        self.assert_error(self.remove(self.workspace), 409, "CONFLICT")
        self.assertEqual(self.names(), before)

    def test_a_workspace_in_use_cannot_be_removed(self):
        before = self.names()
        DataSource.objects.create(workspace=self.second, name="Lake", type="postgresql")
        self.assert_error(self.remove(self.second, self.owner), 409, "CONFLICT")
        self.assertEqual(self.names(), before)
        self.assertEqual(DataSource.objects.get().workspace, self.second)

    def test_an_emptied_workspace_can_be_removed(self):
        data_source = DataSource.objects.create(
            workspace=self.second, name="Lake", type="postgresql"
        )
        data_source.delete()
        self.assertEqual(self.remove(self.second).status_code, 204)

    def test_invalid_workspace_names_are_refused(self):
        before = self.names()
        for name in INVALID_NAMES:
            with self.subTest(name=name):
                self.assert_error(self.add({"name": name}), 400, "BAD_REQUEST", "name")
                self.assert_error(self.patch({"name": name}), 400, "BAD_REQUEST", "name")
                self.assertEqual(self.names(), before)
        self.assert_error(self.add({}), 400, "BAD_REQUEST", "name")

    def test_unknown_field_of_a_workspace_is_refused_with_the_nearest_name(self):
        before = self.names()
        for response in (
            self.add({"name": "Third", "nmae": "Third", "organization_id": self.globex.pk}),
            self.patch({"nmae": "Third", "organization_id": self.globex.pk}),
        ):
            fields = ("nmae", "organization_id")
            error = self.assert_error(response, 400, "BAD_REQUEST", *fields)
            self.assertIn("name", error["details"]["nmae"][0])
            self.assertEqual(self.names(), before)
