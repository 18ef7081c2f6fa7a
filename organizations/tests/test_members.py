"""The members of an organization: /api/v1/organizations/{organization_id}/members."""

from typing import Any

from organizations.models import Membership, Role, User
from organizations.testing import APITestCase


class MemberTests(APITestCase):
    path: str
    second_owner: User

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.path = f"/organizations/{cls.acme.pk}/members"
        # Otto owns Acme too, and answers for Olivia when she is away.
        cls.second_owner = cls.make_user("otto", cls.acme, Role.OWNER)

    def roles(self) -> dict[str, str]:
        return dict(Membership.objects.values_list("user__username", "role"))

    def add(self, data: Any, user: User | None = None, **extra: Any) -> Any:
        return self.call("post", self.path, data, user or self.admin, **extra)

    def patch(self, member: User, data: Any, user: User | None = None, **extra: Any) -> Any:
        path = f"{self.path}/{member.pk}"
        return self.call("patch", path, data, user or self.admin, **extra)

    def remove(self, member: User, user: User | None = None) -> Any:
        return self.call("delete", f"{self.path}/{member.pk}", user=user or self.admin)

    def leave_one_owner(self) -> None:
        Membership.objects.filter(user=self.second_owner).delete()

    def test_every_role_lists_members(self):
        for user in (self.viewer, self.editor, self.admin, self.owner):
            with self.subTest(user=user.username):
                response = self.call("get", self.path, user=user)
                self.assertEqual(response.status_code, 200)
                data = response.json()["data"]
                roles = {member["username"]: member["role"] for member in data}
                self.assertEqual(roles, {k: v for k, v in self.roles().items() if k != "stella"})
                self.assertEqual(list(data[0]), ["user_id", "username", "role", "created_at"])

    def test_list_of_members_is_paginated(self):
        path, names = f"{self.path}?page_size=2", []
        while path:
            body = self.call("get", path, user=self.viewer).json()
            names += [member["username"] for member in body["data"]]
            path = (body["pagination"]["next"] or "").partition("/api/v1")[2]
        self.assertEqual(names, ["olivia", "adam", "edith", "victor", "otto"])

    def test_list_of_members_finds_one_by_the_username(self):
        for username, found in (("edith", ["edith"]), ("Edith", []), ("stella", [])):
            with self.subTest(username=username):
                path = f"{self.path}?username={username}"
                data = self.call("get", path, user=self.viewer).json()["data"]
                self.assertEqual([member["username"] for member in data], found)

    def test_every_role_gets_one_member_as_the_list_shows_it(self):
        listed = self.call("get", self.path, user=self.viewer).json()["data"]
        for user in (self.viewer, self.editor, self.admin, self.owner):
            for member in listed:
                with self.subTest(user=user.username, member=member["username"]):
                    response = self.call("get", f"{self.path}/{member['user_id']}", user=user)
                    self.assertEqual(response.status_code, 200)
                    self.assertEqual(response.json()["data"], member)

    def test_get_of_a_member_takes_no_parameters(self):
        response = self.call("get", f"{self.path}/{self.viewer.pk}?role=x", user=self.viewer)
        self.assert_error(response, 400, "BAD_REQUEST", "role")

    def test_added_member_is_at_its_location(self):
        response = self.add({"username": "leo", "role": "viewer"})
        path = response["Location"].removeprefix("/api/v1")
        self.assertEqual(path, f"{self.path}/{self.loner.pk}")
        again = self.call("get", path, user=self.loner)
        self.assertEqual(again.json()["data"], response.json()["data"])

    def test_admins_and_owners_add_members(self):
        for user, role in ((self.admin, "admin"), (self.owner, "owner")):
            with self.subTest(user=user.username):
                Membership.objects.filter(user=self.loner).delete()
                response = self.add({"username": "leo", "role": role}, user)
                self.assertEqual(response.status_code, 201)
                data = response.json()["data"]
                self.assertEqual((data["user_id"], data["role"]), (self.loner.pk, role))
                self.assertEqual(self.roles()["leo"], role)

    def test_admins_cannot_make_a_member_an_owner(self):
        before = self.roles()
        response = self.add({"username": "leo", "role": "owner"})
        self.assert_error(response, 403, "FORBIDDEN")
        self.assert_error(self.patch(self.editor, {"role": "owner"}), 403, "FORBIDDEN")
        self.assert_error(self.patch(self.admin, {"role": "owner"}), 403, "FORBIDDEN")
        self.assertEqual(self.roles(), before)

    def test_admins_can_neither_demote_nor_remove_owners(self):
        before = self.roles()
        for role in ("viewer", "admin", "owner"):
            with self.subTest(role=role):
                self.assert_error(self.patch(self.owner, {"role": role}), 403, "FORBIDDEN")
        self.assert_error(self.remove(self.owner), 403, "FORBIDDEN")
        self.assertEqual(self.roles(), before)

    def test_admins_change_roles_of_members_who_are_not_owners(self):
        for member, role in (
            (self.viewer, "editor"),
            (self.editor, "admin"),
            (self.admin, "admin"),
        ):
            with self.subTest(member=member.username):
                response = self.patch(member, {"role": role})
                self.assertEqual(response.status_code, 200)
                self.assertEqual(response.json()["data"]["role"], role)
                self.assertEqual(self.roles()[member.username], role)

    def test_admins_remove_members_who_are_not_owners(self):
        for member in (self.viewer, self.editor, self.admin):
            with self.subTest(member=member.username):
                response = self.remove(member)
                self.assertEqual((response.status_code, response.content), (204, b""))
                self.assertNotIn(member.username, self.roles())
                self.assertTrue(User.objects.filter(pk=member.pk).exists())

    def test_owners_promote_and_demote_owners(self):
        self.assertEqual(self.patch(self.editor, {"role": "owner"}, self.owner).status_code, 200)
        response = self.patch(self.second_owner, {"role": "viewer"}, self.owner)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(self.roles()["edith"], "owner")
        self.assertEqual(self.roles()["otto"], "viewer")

    def test_owners_remove_owners_and_themselves(self):
        self.assertEqual(self.remove(self.second_owner, self.owner).status_code, 204)
        self.patch(self.editor, {"role": "owner"}, self.owner)
        self.assertEqual(self.remove(self.owner, self.owner).status_code, 204)
        self.assertEqual(self.roles()["edith"], "owner")
        self.assertNotIn("olivia", self.roles())

    def test_the_last_owner_can_be_neither_demoted_nor_removed(self):
        self.leave_one_owner()
        before = self.roles()
        self.assert_error(self.remove(self.owner, self.owner), 409, "CONFLICT")
        for role in ("viewer", "editor", "admin"):
            with self.subTest(role=role):
                response = self.patch(self.owner, {"role": role}, self.owner)
                self.assert_error(response, 409, "CONFLICT")
        self.assertEqual(self.roles(), before)

    def test_setting_the_last_owner_to_owner_again_is_allowed(self):
        self.leave_one_owner()
        response = self.patch(self.owner, {"role": "owner"}, self.owner)
        self.assertEqual(response.status_code, 200)

    def test_last_owner_who_owns_another_organization_cannot_leave(self):
        self.leave_one_owner()
        Membership.objects.create(user=self.owner, organization=self.globex, role=Role.OWNER)
        self.assert_error(self.remove(self.owner, self.owner), 409, "CONFLICT")
        self.assertEqual(Membership.objects.filter(user=self.owner).count(), 2)

    def test_a_removed_member_gets_403_from_the_next_request_on(self):
        self.remove(self.viewer)
        response = self.call("get", self.path, user=self.viewer)
        self.assert_error(response, 403, "FORBIDDEN")

    def test_adding_a_member_names_invalid_fields(self):
        self.make_user("ida")
        User.objects.filter(username="ida").update(is_active=False)
        before = self.roles()
        for data, fields in (
            ({}, ["username", "role"]),
            ({"username": "leo"}, ["role"]),
            ({"role": "viewer"}, ["username"]),
            ({"username": "nobody", "role": "viewer"}, ["username"]),
            ({"username": "nobody", "role": "boss"}, ["username", "role"]),
            ({"username": "ida", "role": "viewer"}, ["username"]),
            ({"username": "edith", "role": "viewer"}, ["username"]),
            ({"username": "olivia", "role": "viewer"}, ["username"]),
            ({"username": 7, "role": "viewer"}, ["username"]),
            ({"username": None, "role": None}, ["username", "role"]),
            ({"username": "leo\0", "role": "viewer"}, ["username"]),
            ({"username": "l" * 151, "role": "viewer"}, ["username"]),
            ({"username": "leo", "role": "Viewer"}, ["role"]),
            ({"username": "leo", "role": ["viewer"]}, ["role"]),
            ({"username": "leo", "role": {"a": 1}}, ["role"]),
            ({"username": "leo", "role": True}, ["role"]),
            ({"user_id": self.loner.pk, "username": "leo", "role": "viewer"}, ["user_id"]),
        ):
            with self.subTest(data=data):
                self.assert_error(self.add(data), 400, "BAD_REQUEST", *fields)
                self.assertEqual(self.roles(), before)

    def test_updating_a_member_names_invalid_fields(self):
        before = self.roles()
        for data, fields in (
            ({"role": "boss"}, ["role"]),
            ({"role": ""}, ["role"]),
            ({"role": None}, ["role"]),
            ({"role": 3}, ["role"]),
            ({"role": []}, ["role"]),
            ({"username": "leo"}, ["username"]),
            ({"role": "admin", "user_id": self.loner.pk}, ["user_id"]),
        ):
            with self.subTest(data=data):
                response = self.patch(self.viewer, data)
                self.assert_error(response, 400, "BAD_REQUEST", *fields)
                self.assertEqual(self.roles(), before)

    def test_unknown_field_of_a_member_is_refused_with_the_nearest_name(self):
        for response in (
            self.add({"username": "leo", "role": "viewer", "rolle": "viewer"}),
            self.patch(self.viewer, {"rolle": "editor"}),
        ):
            error = self.assert_error(response, 400, "BAD_REQUEST", "rolle")
            self.assertIn("role", error["details"]["rolle"][0])

    def test_an_empty_update_of_a_member_changes_nothing(self):
        before = self.roles()
        self.assertEqual(self.patch(self.viewer, {}).status_code, 200)
        self.assertEqual(self.roles(), before)

    def test_users_who_are_not_members_are_404(self):
        before = self.roles()
        for user in (self.loner, self.stranger):
            for method, data in (("get", None), ("patch", {"role": "admin"}), ("delete", None)):
                with self.subTest(method=method, user=user.username):
                    response = self.call(method, f"{self.path}/{user.pk}", data, self.owner)
                    self.assert_error(response, 404, "NOT_FOUND")
        self.assertEqual(self.roles(), before)
