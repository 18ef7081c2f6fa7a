"""Every route of the API: who may call it (contract, section 2), and what all refuse alike."""

import json
import re
from typing import Any, ClassVar

from django.db import connection, transaction

from datasources.models import DataSource
from organizations.models import Membership, User
from rivergen.http.openapi.view import document
from rivergen.testing.routes import routes
from rivergen.testing.web_role import become, role_in_transaction
from tests.api.testing.route_table import OF_ANY_USER, PUBLIC, ROLES, ROUTES, RouteTestCase

METHODS = {"get", "post", "put", "patch", "delete", "options"}
MERGE_PATCH = "application/merge-patch+json"
INVALID_IDS = (
    *("abc", "-1", "0", "1.0", "1e1", "+1", "１", "%20", "%00", "null"),
    *(str(2**63), "9" * 400),
)
NOT_OBJECTS = (b"", b"{", b"[]", b"null", b'"name"')


class RouteTests(RouteTestCase):
    def test_every_route_is_in_the_table(self):
        found = {
            (method, path.removeprefix("/api/v1"))
            for path, methods in routes()
            for method in methods
        }
        self.assertEqual({*ROUTES} | PUBLIC | OF_ANY_USER, found)

    def test_each_role_may_call_what_the_contract_allows(self):
        for (method, path), route in ROUTES.items():
            for rank, role in enumerate(ROLES):
                with self.subTest(method=method, path=path, role=role):
                    response, has_changed = self.try_as(getattr(self, role), method, path)
                    if rank >= ROLES.index(route.least_role):
                        self.assertEqual(response.status_code, route.success, response.content)
                        self.assertEqual(has_changed, method != "get")
                    elif route.too_low != 403:
                        self.assertEqual(response.status_code, route.too_low)
                        self.assertFalse(has_changed)
                    else:
                        error = self.assert_error(response, 403, "FORBIDDEN")
                        self.assertIn(route.least_role, error["message"])
                        self.assertFalse(has_changed)

    def test_location_leads_to_the_created_row_or_started_test(self):
        created = [key for key, route in ROUTES.items() if route.success in (201, 202)]
        self.assertGreater(len(created), 5)
        for method, path in created:
            described = document()["paths"][f"/api/v1{path}"][method]["responses"]
            with self.subTest(method=method, path=path), transaction.atomic():
                route = ROUTES[method, path]
                self.assertIn("Location", described[str(route.success)]["headers"])
                route.prepare(DataSource.objects.get(pk=self.data_source.pk))
                target = path.format(**self.ids)
                response = self.call(method, target, route.body, self.owner)
                location = response["Location"].removeprefix("/api/v1")
                found = self.call("get", location, user=self.owner)
                self.assertEqual(found.status_code, 200, location)
                self.assertEqual(found.json()["data"], response.json()["data"])
                transaction.set_rollback(True)

    def test_requests_about_one_thing_refuse_unknown_parameters(self):
        for method, path in ROUTES.keys() | OF_ANY_USER:
            if method == "get":
                with self.subTest(path=path):
                    target = f"{path.format(**self.ids)}?nonsense=1"
                    response = self.call("get", target, user=self.owner)
                    self.assert_error(response, 400, "BAD_REQUEST", "nonsense")

    def test_callers_without_membership_change_and_see_nothing(self):
        for (method, path), route in ROUTES.items():
            with self.subTest(method=method, path=path):
                anonymous, has_changed = self.try_as(None, method, path)
                self.assert_error(anonymous, 401, "UNAUTHORIZED")
                self.assertEqual(anonymous["WWW-Authenticate"], "Bearer")
                self.assertFalse(has_changed)
                loner, has_changed = self.try_as(self.loner, method, path)
                self.assert_error(loner, 403, "FORBIDDEN")
                self.assertFalse(has_changed)
                stranger, has_changed = self.try_as(self.stranger, method, path)
                self.assertEqual(stranger.status_code, route.stranger)
                if route.stranger == 404:
                    self.assert_error(stranger, 404, "NOT_FOUND")
                    self.assertFalse(has_changed)
                self.assertNotIn("Production PostgreSQL", stranger.content.decode())
                self.assertNotIn("Acme", stranger.content.decode())

    def test_removed_owner_is_403_and_deactivated_owner_is_401(self):
        Membership.objects.filter(user=self.owner).delete()
        for (method, path), _ in ROUTES.items():
            with self.subTest(method=method, path=path):
                removed, has_changed = self.try_as(self.owner, method, path)
                self.assert_error(removed, 403, "FORBIDDEN")
                self.assertFalse(has_changed)
        User.objects.filter(pk=self.owner.pk).update(is_active=False)
        for (method, path), _ in ROUTES.items():
            with self.subTest(method=method, path=path, deactivated=True):
                deactivated, has_changed = self.try_as(self.owner, method, path)
                self.assert_error(deactivated, 401, "UNAUTHORIZED")
                self.assertFalse(has_changed)

    def test_unsupported_methods_are_405_with_allow_header(self):
        for path, allowed in routes():
            target = path.removeprefix("/api/v1").format(**self.ids)
            for method in METHODS - allowed:
                with self.subTest(method=method, path=path):
                    response, has_changed = self.attempt(self.owner, method, target, {"name": "n"})
                    self.assert_error(response, 405, "METHOD_NOT_ALLOWED")
                    head = {"HEAD"} if "get" in allowed else set()
                    expected = {name.upper() for name in allowed} | head
                    self.assertEqual({*response["Allow"].split(", ")}, expected)
                    self.assertFalse(has_changed)

    def test_non_object_bodies_are_400_and_other_media_types_415(self):
        for (method, path), route in ROUTES.items():
            if route.body is None:
                continue
            body = json.dumps(route.body_for(self.ids)).encode()
            cases = [(invalid, "application/json", 400) for invalid in NOT_OBJECTS]
            cases += [(body, "text/plain", 415), (b"name=Third", "text/plain", 415)]
            if method != "patch":
                cases += [(body, MERGE_PATCH, 415), (b"{}", MERGE_PATCH, 415)]
            for sent, media_type, status in cases:
                with self.subTest(method=method, path=path, sent=sent, media_type=media_type):
                    target = path.format(**self.ids)
                    response, has_changed = self.attempt(
                        self.owner, method, target, sent, content_type=media_type
                    )
                    code = {400: "BAD_REQUEST", 415: "UNSUPPORTED_MEDIA_TYPE"}[status]
                    self.assert_error(response, status, code)
                    self.assertFalse(has_changed)

    def test_invalid_ids_are_404(self):
        for (method, path), route in ROUTES.items():
            for name in re.findall(r"{(\w+)}", path):
                for text in INVALID_IDS:
                    with self.subTest(method=method, path=path, name=name, id=text[:30]):
                        target = path.format(**{**self.ids, name: text})
                        body = route.body_for(self.ids)
                        response, has_changed = self.attempt(self.owner, method, target, body)
                        self.assert_error(response, 404, "NOT_FOUND")
                        self.assertFalse(has_changed)


class RowLevelSecurityRouteTests(RouteTests):
    """Run the tests of RouteTests with a database role that is subject to row-level security."""

    # Tests that need no rows are not repeated.
    test_invalid_ids_are_404: Any = None
    test_non_object_bodies_are_400_and_other_media_types_415: Any = None
    test_unsupported_methods_are_405_with_allow_header: Any = None

    role: ClassVar[str]

    @classmethod
    def setUpTestData(cls) -> None:
        cls.role = role_in_transaction()
        super().setUpTestData()

    def call(self, method: str, path: str, data: Any = None, user: Any = None, **extra: Any) -> Any:
        become(self.role, user)
        response = super().call(method, path, data, user, **extra)
        with connection.cursor() as cursor:
            cursor.execute("RESET ROLE")
        return response
