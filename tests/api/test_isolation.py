"""Tenant isolation: what users outside of an organization get from every route and every page.

The routes come from the URL configuration: a new one fails until it has a row in the table.
"""

import json
import re
from typing import Any, ClassVar
from urllib.parse import quote
from uuid import UUID

from django.apps import apps
from django.contrib.auth.models import Group
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken

from datasources.connection_tests import tasks
from datasources.connection_tests.models import ConnectionTest
from datasources.connections.configuration import Configuration
from datasources.models import DataSource
from organizations.models import Membership, Role, User
from organizations.testing import bearer
from rivergen.testing.routes import pages
from tests.api.testing.route_table import OF_ANY_USER, PUBLIC, ROLES, ROUTES, RouteTestCase

MISSING_ID = 999_999
MISSING: dict[str, Any] = {"test_id": UUID(int=1), "version": MISSING_ID}
SAME_ID = {"X-Request-ID": "the-same"}
# Pages that need no sign-in, with the status of GET.
OPEN_PAGES = {"/": 200, "/healthz": 200, "/readyz": 200, "/metrics": 200, "/api/docs": 200}
ADMIN = "/admin/"
# Admin pages that need no sign-in, with the status of GET.
ADMIN_FOR_ALL = {"/admin/login/": 200}
# Admin pages that staff without any permission may open, with the status of GET.
ADMIN_FOR_STAFF = {
    "/admin/": 200,
    "/admin/login/": 302,
    "/admin/logout/": 405,
    "/admin/password_change/": 200,
    "/admin/password_change/done/": 200,
    "/admin/jsi18n/": 200,
    "/admin/r/{content_type_id}/{object_id}/": 404,
    "/admin/{app_label}/": 404,
    "/admin/{url}": 404,
}


class IsolationTests(RouteTestCase):
    theirs: ClassVar[dict[str, Any]]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        data_source = DataSource.objects.create(
            organization=cls.globex, name="Lake", type="postgresql", host="lake.example.com"
        )
        cls.theirs = {
            "organization_id": cls.globex.pk,
            "workspace_id": cls.globex.workspaces.create(name="Empty").pk,
            "user_id": cls.make_user("gus", cls.globex).pk,
            "data_source_id": data_source.pk,
            "version": 1,
            "test_id": ConnectionTest.objects.request(
                Configuration("csv"), of=data_source, is_stored=True, user=cls.stranger
            ).pk,
        }

    def make_outsiders(self) -> dict[str, tuple[str, int | None]]:
        """Return, by kind of outsider, an `Authorization` header and the status of every route.

        None: the status is that of `Route.stranger`, or 403 if the role is too low.
        """
        outsiders: dict[str, tuple[str, int | None]] = {"anonymous": ("", 401)}
        for role in ROLES:
            outsiders[f"{role} elsewhere"] = bearer(self.make_user(role, self.globex, role)), None
        outsiders["a member of none"] = bearer(self.loner), 403
        for name, is_superuser in (("staff", False), ("a superuser", True)):
            user = self.make_user(f"{name}-1")
            User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=is_superuser)
            outsiders[name] = bearer(user), 403
        for name, organization in (("deactivated", self.acme), ("deleted", self.acme)):
            outsiders[name] = bearer(self.make_user(name, organization, Role.OWNER)), 401
        User.objects.filter(username="deactivated").update(is_active=False)
        User.objects.filter(username="deleted").delete()
        outsiders["forged"] = f"{bearer(self.owner)[:-4]}AAAA", 401
        token = AccessToken.for_user(self.owner)
        token.set_exp(from_time=token.current_time, lifetime=-token.lifetime)
        outsiders["expired"] = f"Bearer {token}", 401
        return outsiders

    def test_callers_without_membership_get_no_data_from_any_route(self):
        for who, (authorization, refusal) in self.make_outsiders().items():
            for (method, path), route in ROUTES.items():
                with self.subTest(who=who, method=method, path=path):
                    expected = refusal
                    if expected is None:
                        expected = route.stranger
                        is_able = ROLES.index(who.split()[0]) >= ROLES.index(route.least_role)
                        if expected != 404 and not is_able:
                            expected = route.too_low
                    headers = {"Authorization": authorization} if authorization else {}
                    target = path.format(**self.ids)
                    response, has_changed = self.attempt(
                        None,
                        method,
                        target,
                        route.body_for(self.ids),
                        route.prepare,
                        headers=headers,
                    )
                    self.assertEqual(response.status_code, expected, response.content)
                    self.assertEqual(has_changed, expected in (201, 202))
                    for secret in ("Acme", "Production PostgreSQL", "moved.example.com"):
                        self.assertNotIn(secret, response.content.decode())

    def test_public_routes_reveal_no_organization(self):
        for method, path in OF_ANY_USER | PUBLIC:
            for who, (authorization, refusal) in self.make_outsiders().items():
                with self.subTest(who=who, method=method, path=path):
                    headers = {"Authorization": authorization} if authorization else {}
                    response = self.call(
                        method, path, {} if method == "post" else None, headers=headers
                    )
                    if (method, path) in PUBLIC:
                        expected = 200 if method == "get" else 400
                    else:
                        expected = 401 if refusal == 401 else 200
                    self.assertEqual(response.status_code, expected)
                    if path != "/openapi.json":  # the same for all; its examples have an Acme, too
                        self.assertNotIn("Acme", response.content.decode())
            User.objects.exclude(username__in=("olivia", "stella", "leo")).delete()

    def bytes_of(self, response: Any) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return all that a client sees of a response, but for what is left of its own limit."""
        del response["RateLimit"]
        return response.status_code, sorted(response.headers.items()), response.content

    def test_foreign_ids_in_paths_are_answered_as_missing_ids(self):
        for (method, path), route in ROUTES.items():
            for name in re.findall(r"{(\w+)}", path):
                missing = MISSING.get(name, MISSING_ID)
                # Replace each id in turn, in a path of the stranger's rows and in one of Acme's.
                for around in (self.theirs, {**self.ids, "version": 1}):
                    if around is not self.theirs and path.count("{") == 1:
                        continue
                    with self.subTest(method=method, path=path, name=name, around=around):
                        answers = [
                            self.bytes_of(
                                self.attempt(
                                    self.stranger,
                                    method,
                                    path.format(**{**around, name: value}),
                                    route.body_for(self.ids),
                                    headers=SAME_ID,
                                )[0]
                            )
                            for value in (self.ids[name] if name != "version" else 3, missing)
                        ]
                        self.assertEqual(answers[0][0], 404)
                        self.assertEqual(answers[0], answers[1])

    def test_foreign_ids_in_bodies_and_queries_are_answered_as_missing_ids(self):
        def create(workspace_id: int) -> Any:
            body = {"name": "n", "type": "csv", "workspace_id": workspace_id}
            return "post", "/data-sources", body

        acme_source, acme_workspace = self.data_source.pk, self.workspace.pk
        cases: dict[str, list[tuple[str, str, Any]]] = {
            "workspace_id": [create(one) for one in (acme_workspace, MISSING_ID)],
            "based_on": [
                ("post", "/data-sources/test", {"based_on": one})
                for one in (acme_source, MISSING_ID)
            ],
            "workspace_id of a draft": [
                ("post", "/data-sources/test", {"type": "csv", "workspace_id": one})
                for one in (acme_workspace, MISSING_ID)
            ],
            "organization": [
                ("post", "/data-sources/apply", {"organization": one, "data_sources": []})
                for one in ("acme", "nobody")
            ],
        }
        for parameter, pair in (
            ("organization_id", (self.acme.pk, MISSING_ID)),
            ("workspace_id", (acme_workspace, MISSING_ID)),
            ("search", ("Production", "Nonexistent")),
        ):
            cases[f"?{parameter}"] = [
                ("get", f"/data-sources?{parameter}={quote(str(one))}", None) for one in pair
            ]
        for name, requests in cases.items():
            with self.subTest(name):
                answers = [
                    self.bytes_of(
                        self.attempt(self.stranger, method, path, body, headers=SAME_ID)[0]
                    )
                    for method, path, body in requests
                ]
                self.assertEqual(answers[0], answers[1])

    def test_foreign_ids_among_many_are_answered_as_missing_ids(self):
        def send(method: str, path: str, body: Any, one: int) -> Any:
            response = self.attempt(self.stranger, method, path, body, headers=SAME_ID)[0]
            content = response.content.replace(b'"id":%d' % one, b'"id":0')
            return response.status_code, json.loads(content)

        for query in ("", "?atomic=false", "?dry_run=true"):
            with self.subTest(query):
                answers = [
                    send("patch", f"/data-sources{query}", {"updates": [{"id": one}]}, one)
                    for one in (self.data_source.pk, MISSING_ID)
                ]
                self.assertEqual(answers[0], answers[1])
                self.assertIn("NOT_FOUND", str(answers[0]))
        answers = [
            send("post", "/data-sources/test", {"ids": [one]}, one)
            for one in (self.data_source.pk, MISSING_ID)
        ]
        self.assertEqual(answers[0], answers[1])
        self.assertIn("NOT_FOUND", str(answers[0]))

    def test_removed_member_gets_404_for_the_organization_and_its_data_sources(self):
        Membership.objects.filter(user=self.editor).delete()
        Membership.objects.create(user=self.editor, organization=self.globex, role=Role.EDITOR)
        header = {"Authorization": bearer(self.editor)}
        for path in (self.path, f"{self.path}/history", f"/organizations/{self.acme.pk}"):
            response = self.call("get", path, headers=header)
            self.assert_error(response, 404, "NOT_FOUND")


class PageIsolationTests(RouteTestCase):
    """Every page that is not part of the API."""

    ids: ClassVar[dict[str, Any]]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        # Rows of models that the admin shows as well.
        Group.objects.create(name="Readers")
        tasks.test_connection.defer(test_id=str(cls.ids["test_id"]))

    def addresses(self) -> dict[str, str]:
        """Return an address of an existing row for each path."""
        values = {
            "object_id": self.data_source.pk,
            "id": self.owner.pk,
            "content_type_id": 1,
            "app_label": "datasources",
            "url": "nothing/",
        }
        addresses = {}
        for path in pages():
            if match := re.match(r"/admin/(\w+)/(\w+)/{object_id}/", path):
                app, name = match.groups()
                values["object_id"] = apps.get_model(app, name)._default_manager.latest("pk").pk
            addresses[path] = path.format(**values)
        return addresses

    def test_every_page_is_public_or_part_of_the_admin(self):
        found = {path for path in pages() if not path.startswith(ADMIN)}
        self.assertEqual(found, {*OPEN_PAGES})
        self.assertLessEqual({*ADMIN_FOR_ALL, *ADMIN_FOR_STAFF}, {*pages()})

    def test_public_pages_answer_the_same_with_and_without_token(self):
        clients = [Client(), Client(headers={"Authorization": bearer(self.owner)})]
        for path, status in OPEN_PAGES.items():
            for client in clients:
                with self.subTest(path=path):
                    self.assertEqual(client.get(path).status_code, status)
                    self.assertIn(client.post(path).status_code, {403, 405})

    def test_admin_redirects_users_who_are_not_staff_to_login(self):
        member = Client()
        member.force_login(self.owner)
        token = Client(headers={"Authorization": bearer(self.owner)})
        for who, client in (("anonymous", Client()), ("no staff", member), ("a token", token)):
            for path, address in self.addresses().items():
                if not path.startswith(ADMIN) or path in ADMIN_FOR_ALL:
                    continue
                for method in ("get", "post"):
                    with self.subTest(who=who, path=path, method=method):
                        before = self.digests()
                        response = getattr(client, method)(address)
                        self.assertEqual(response.status_code, 302)
                        login = f"/admin/login/?next={quote(address)}"
                        leads_to = "/admin/" if path == "/admin/logout/" else login
                        self.assertEqual(response["Location"], leads_to)
                        self.assertEqual(self.digests(), before)

    def test_admin_shows_no_rows_to_staff_without_permissions(self):
        user = self.make_user("stan")
        User.objects.filter(pk=user.pk).update(is_staff=True)
        client = Client()
        client.force_login(user)
        for path, address in self.addresses().items():
            if not path.startswith(ADMIN):
                continue
            for method in ("get", "post"):
                with self.subTest(path=path, method=method):
                    if method == "post" and path in ADMIN_FOR_STAFF:
                        continue
                    before = self.digests()
                    response = getattr(client, method)(address)
                    status = ADMIN_FOR_STAFF.get(path, 403)
                    if re.search(r"/{object_id}/$", path) and status == 403:
                        # Django redirects the old address of a form; the new one is refused.
                        self.assertEqual(response["Location"], f"{address}change/")
                        status = 302
                    # 405: buttons accept only POST, and the search only GET.
                    is_other_method = status == 403 and response.status_code == 405
                    self.assertTrue(is_other_method or response.status_code == status)
                    self.assertNotIn("Production PostgreSQL", response.content.decode())
                    self.assertEqual(self.digests(), before)
