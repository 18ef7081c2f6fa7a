"""GET /api/v1/organizations; GET, PATCH and DELETE /api/v1/organizations/{organization_id}."""

from typing import Any

from datasources.models import DataSource
from organizations.models import Membership, Organization, Role, User
from organizations.testing import APITestCase


class OrganizationTests(APITestCase):
    path: str

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.path = f"/organizations/{cls.acme.pk}"

    def patch(self, data: Any, user: User | None = None, **extra: Any) -> Any:
        return self.call("patch", self.path, data, user or self.admin, **extra)

    def assert_unchanged(self) -> None:
        acme = Organization.objects.get(pk=self.acme.pk)
        self.assertEqual((acme.name, acme.slug), ("Acme", "acme"))

    def test_list_of_organizations_finds_them_by_name_and_slug(self):
        for query, slugs in (
            ("name=ACME", ["acme"]),
            ("slug=acme", ["acme"]),
            ("slug=ACME", []),
            ("slug=globex", []),
            ("name=acme&slug=globex", []),
        ):
            with self.subTest(query=query):
                path = f"/organizations?{query}"
                data = self.call("get", path, user=self.viewer).json()["data"]
                self.assertEqual([item["slug"] for item in data], slugs)

    def test_list_has_only_organizations_of_the_caller(self):
        Membership.objects.create(user=self.editor, organization=self.globex, role=Role.VIEWER)
        Organization.objects.create(name="Initech", slug="initech")
        response = self.call("get", "/organizations", user=self.editor)
        self.assertEqual(response.status_code, 200)
        roles = {item["slug"]: item["role"] for item in response.json()["data"]}
        self.assertEqual(roles, {"acme": "editor", "globex": "viewer"})

    def test_list_of_organizations_is_paginated(self):
        Membership.objects.create(user=self.owner, organization=self.globex)
        first = self.call("get", "/organizations?page_size=1", user=self.owner).json()
        self.assertEqual([item["name"] for item in first["data"]], ["Acme"])
        self.assertIsNone(first["pagination"]["previous"])
        path = first["pagination"]["next"].partition("/api/v1")[2]
        second = self.call("get", path, user=self.owner).json()
        self.assertEqual([item["name"] for item in second["data"]], ["Globex"])
        self.assertIsNone(second["pagination"]["next"])
        path = second["pagination"]["previous"].partition("/api/v1")[2]
        again = self.call("get", path, user=self.owner).json()
        self.assertEqual(again["data"], first["data"])

    def test_list_of_organizations_is_ordered_as_requested(self):
        Membership.objects.create(user=self.owner, organization=self.globex)
        for ordering, names in (
            ("name", ["Acme", "Globex"]),
            ("-name", ["Globex", "Acme"]),
            ("created_at", ["Acme", "Globex"]),
            ("-created_at", ["Globex", "Acme"]),
        ):
            with self.subTest(ordering=ordering):
                response = self.call("get", f"/organizations?ordering={ordering}", user=self.owner)
                self.assertEqual([item["name"] for item in response.json()["data"]], names)

    def test_list_of_organizations_refuses_unknown_parameters(self):
        response = self.call("get", "/organizations?orderin=name", user=self.owner)
        error = self.assert_error(response, 400, "BAD_REQUEST", "orderin")
        self.assertIn("ordering", error["details"]["orderin"][0])

    def test_every_role_reads_the_organization(self):
        for user in (self.viewer, self.editor, self.admin, self.owner):
            with self.subTest(user=user.username):
                response = self.call("get", self.path, user=user)
                self.assertEqual(response.status_code, 200)
                data = response.json()["data"]
                names = ["id", "name", "slug", "role", "requires_if_match", "created_at"]
                self.assertEqual(list(data), names)
                self.assertEqual((data["id"], data["name"]), (self.acme.pk, "Acme"))
                self.assertEqual(data["role"], Membership.objects.get(user=user).role)
                self.assertRegex(data["created_at"], r"^\d{4}-\d\d-\d\dT[\d:.]+Z$")

    def test_users_of_no_organization_get_403(self):
        for method, path in (
            ("get", "/organizations"),
            ("get", "/organizations?unknown=1"),
            ("get", self.path),
            ("patch", self.path),
            ("delete", self.path),
            ("get", "/organizations/abc"),
        ):
            with self.subTest(method=method, path=path):
                self.assert_error(self.call(method, path, user=self.loner), 403, "FORBIDDEN")
        self.assert_unchanged()

    def test_organization_ids_with_extra_digits_are_404(self):
        for text in (f"{self.acme.pk:020}0", f"{self.acme.pk:020}9"):
            with self.subTest(id=text):
                response = self.call("get", f"/organizations/{text}", user=self.owner)
                self.assert_error(response, 404, "NOT_FOUND")

    def test_admins_and_owners_rename_an_organization(self):
        for user in (self.admin, self.owner):
            with self.subTest(user=user.username):
                response = self.patch({"name": f"  {user.username} & Co  "}, user)
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response.json()["data"]["name"], f"{user.username} & Co")
                self.acme.refresh_from_db()
                self.assertEqual(self.acme.name, f"{user.username} & Co")

    def test_admins_and_owners_set_requires_if_match(self):
        for user, policy in ((self.admin, True), (self.owner, False), (self.owner, True)):
            with self.subTest(user=user.username, policy=policy):
                response = self.patch({"requires_if_match": policy}, user)
                self.assertEqual(response.status_code, 200)
                self.assertIs(response.json()["data"]["requires_if_match"], policy)
                self.acme.refresh_from_db()
                self.assertEqual((self.acme.requires_if_match, self.acme.name), (policy, "Acme"))
        for value in ("true", 1, None, {}):
            response = self.patch({"requires_if_match": value, "name": "New"})
            self.assert_error(response, 400, "BAD_REQUEST", "requires_if_match")
        response = self.patch({"requires_if_match": False}, self.editor)
        self.assert_error(response, 403, "FORBIDDEN")
        self.acme.refresh_from_db()
        self.assertTrue(self.acme.requires_if_match)
        self.assert_unchanged()

    def test_owner_of_another_organization_may_not_change_this_one(self):
        Membership.objects.create(user=self.stranger, organization=self.acme, role=Role.VIEWER)
        self.assert_error(self.patch({"name": "Mine"}, self.stranger), 403, "FORBIDDEN")
        response = self.call("delete", self.path, user=self.stranger)
        self.assert_error(response, 403, "FORBIDDEN")
        self.assert_unchanged()

    def test_an_empty_update_of_an_organization_changes_nothing(self):
        self.assertEqual(self.patch({}).status_code, 200)
        self.assert_unchanged()

    def test_invalid_organization_names_are_refused(self):
        for name in ("", "   ", "x" * 256, "a\0b", None, 7, True, ["Acme"], {"name": "Acme"}):
            with self.subTest(name=name):
                self.assert_error(self.patch({"name": name}), 400, "BAD_REQUEST", "name")
                self.assert_unchanged()

    def test_unknown_field_of_an_organization_is_refused_with_the_nearest_name(self):
        error = self.assert_error(
            self.patch({"nmae": "Mine", "slug": "mine", "id": 7}),
            400, "BAD_REQUEST", "nmae", "slug", "id",
        )  # fmt: skip
        self.assertIn("name", error["details"]["nmae"][0])
        self.assert_unchanged()

    def test_role_is_checked_before_the_body(self):
        for body in (b"{", b"", b'{"unknown": 1}'):
            with self.subTest(body=body):
                self.assert_error(self.patch(body, self.editor), 403, "FORBIDDEN")
        response = self.patch(b"name=Mine", self.editor, content_type="text/plain")
        self.assert_error(response, 403, "FORBIDDEN")

    def test_owners_remove_an_organization_with_its_data_sources(self):
        workspace = self.acme.workspaces.create(name="Second")
        for place in (self.workspace, workspace):
            DataSource.objects.create(workspace=place, name="Lake", type="postgresql")
        response = self.call("delete", self.path, user=self.owner)
        self.assertEqual((response.status_code, response.content), (204, b""))
        self.assertEqual([*Organization.objects.all()], [self.globex])
        self.assertFalse(DataSource.objects.exists())
        self.assertTrue(User.objects.filter(pk=self.owner.pk).exists())
        self.assert_error(self.call("get", self.path, user=self.owner), 403, "FORBIDDEN")
