"""GET /api/v1/me: the caller and its memberships."""

from organizations.models import Membership, Organization, Role
from organizations.testing import APITestCase


class MeTests(APITestCase):
    def test_me_shows_the_caller_and_its_membership(self):
        response = self.call("get", "/me", user=self.editor)
        self.assertEqual(response.status_code, 200)
        expected = {
            "success": True,
            "data": {
                "id": self.editor.pk,
                "username": "edith",
                "email": "",
                "first_name": "",
                "last_name": "",
                "memberships": [
                    {
                        "organization_id": self.acme.pk,
                        "organization_name": "Acme",
                        "organization_slug": "acme",
                        "role": "editor",
                    }
                ],
            },
            "message": "User retrieved successfully",
        }
        self.assertEqual(response.json(), expected)

    def test_me_shows_each_role(self):
        for user, role in (
            (self.viewer, "viewer"),
            (self.editor, "editor"),
            (self.admin, "admin"),
            (self.owner, "owner"),
        ):
            with self.subTest(role=role):
                (membership,) = self.call("get", "/me", user=user).json()["data"]["memberships"]
                self.assertEqual(membership["role"], role)

    def test_me_shows_all_memberships_of_the_caller_and_no_others(self):
        Membership.objects.create(user=self.editor, organization=self.globex, role=Role.VIEWER)
        Organization.objects.create(name="Initech", slug="initech")
        memberships = self.call("get", "/me", user=self.editor).json()["data"]["memberships"]
        roles = {item["organization_slug"]: item["role"] for item in memberships}
        self.assertEqual(roles, {"acme": "editor", "globex": "viewer"})

    def test_me_shows_a_caller_of_no_organization(self):
        response = self.call("get", "/me", user=self.loner)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.json()["data"]["memberships"], [])

    def test_number_of_queries_of_me_does_not_grow_with_memberships(self):
        for number in range(5):
            organization = Organization.objects.create(name=f"N{number}", slug=f"n{number}")
            Membership.objects.create(user=self.editor, organization=organization)
        with self.assertNumQueries(3):
            self.call("get", "/me", user=self.editor)

    def test_me_shows_no_secret(self):
        self.assertNotIn("password", self.call("get", "/me", user=self.editor).content.decode())

    def test_me_refuses_callers_without_a_token(self):
        response = self.call("get", "/me")
        self.assert_error(response, 401, "UNAUTHORIZED")
        self.assertEqual(response["WWW-Authenticate"], "Bearer")

    def test_me_refuses_methods_other_than_get(self):
        for method in ("post", "put", "patch", "delete", "options"):
            with self.subTest(method=method):
                response = self.call(method, "/me", user=self.editor)
                self.assert_error(response, 405, "METHOD_NOT_ALLOWED")
                self.assertIn("GET", response["Allow"])
