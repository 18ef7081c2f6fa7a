"""Every route of the API: who may call it (contract, section 2), and what all refuse alike."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import transaction
from django.test import TestCase

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.configuration import Configuration
from datasources.credentials.models import Credential
from datasources.models import DataSource, DataSourceRevision
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.snapshots.models import SchemaSnapshot
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestMixin
from organizations.models import Membership, Organization, User, Workspace
from rivergen.testing.routes import routes

ROLES = ("viewer", "editor", "admin", "owner")
ORGANIZATION = "/organizations/{organization_id}"
DATA_SOURCE = "/data-sources/{data_source_id}"
CREDENTIALS = f"{DATA_SOURCE}/credentials"
METHODS = {"get", "post", "put", "patch", "delete", "options"}
MERGE_PATCH = "application/merge-patch+json"
NO_IDS = (
    *("abc", "-1", "0", "1.0", "1e1", "+1", "１", "%20", "%00", "null"),
    *(str(2**63), "9" * 400),
)
NO_OBJECTS = (b"", b"{", b"[]", b"null", b'"name"')


@dataclass(frozen=True)
class Route:
    """What one method of one path answers: the least role, its success, and what others get.

    A stranger owns another organization: what is not its own does not exist for it.
    """

    least_role: str
    success: int
    body: Any = None
    stranger: int = 404
    prepare: Callable[[DataSource], object] = lambda data_source: None
    """Brings the data source into the state that the route is for."""


def enter_password(data_source: DataSource) -> None:
    """Let its secrets be used."""
    data_source.set_credentials({"password": "hunter2"}, user=None)


def show_host_key(data_source: DataSource) -> None:
    """Have a test that met an SSH server."""
    key = {"key": "ssh-ed25519 AAAA", "fingerprint": "SHA256:AAAA"}
    result = {"ok": False, "version": data_source.version, "ssh_host_key": key}
    data_sources = DataSource.objects.filter(pk=data_source.pk)
    data_sources.record_test(result, version=data_source.version)


def read_schema(data_source: DataSource) -> None:
    """Have its schema read once."""
    refresh(data_source, table("orders", column("id")))


DECLARATIONS = {"organization": "acme", "data_sources": [{"name": "New", "type": "csv"}]}
PUBLIC = {("post", "/auth/token"), ("post", "/auth/token/refresh"), ("get", "/openapi.json")}
OF_ANY_USER = {("get", "/me")}
ROUTES = {
    ("get", "/organizations"): Route("viewer", 200, stranger=200),
    ("get", ORGANIZATION): Route("viewer", 200),
    ("patch", ORGANIZATION): Route("admin", 200, {"name": "New"}),
    ("delete", ORGANIZATION): Route("owner", 204),
    ("get", f"{ORGANIZATION}/members"): Route("viewer", 200),
    ("post", f"{ORGANIZATION}/members"): Route("admin", 201, {"username": "leo", "role": "viewer"}),
    ("patch", f"{ORGANIZATION}/members/{{user_id}}"): Route("admin", 200, {"role": "editor"}),
    ("delete", f"{ORGANIZATION}/members/{{user_id}}"): Route("admin", 204),
    ("get", f"{ORGANIZATION}/workspaces"): Route("viewer", 200),
    ("post", f"{ORGANIZATION}/workspaces"): Route("admin", 201, {"name": "New"}),
    ("patch", f"{ORGANIZATION}/workspaces/{{workspace_id}}"): Route("admin", 200, {"name": "New"}),
    ("delete", f"{ORGANIZATION}/workspaces/{{workspace_id}}"): Route("admin", 204),
    ("get", "/data-source-types"): Route("viewer", 200, stranger=200),
    ("get", "/data-sources"): Route("viewer", 200, stranger=200),
    ("post", "/data-sources"): Route("editor", 201, {"name": "New", "type": "csv"}, stranger=201),
    ("get", DATA_SOURCE): Route("viewer", 200),
    ("patch", DATA_SOURCE): Route("editor", 200, {"port": 5433}),
    ("delete", DATA_SOURCE): Route("admin", 204),
    ("post", f"{DATA_SOURCE}/test"): Route("editor", 202, prepare=enter_password),
    ("post", "/data-sources/test"): Route("editor", 202, {"type": "csv"}, stranger=202),
    ("post", "/data-sources/apply"): Route("editor", 200, DECLARATIONS, stranger=400),
    ("get", "/connection-tests/{test_id}"): Route("viewer", 200),
    ("post", f"{DATA_SOURCE}/ssh-host-key/confirm"): Route("admin", 200, prepare=show_host_key),
    ("get", CREDENTIALS): Route("viewer", 200),
    ("put", CREDENTIALS): Route("editor", 200, {"username": "reader"}),
    ("patch", CREDENTIALS): Route("editor", 200, {"username": "reader"}),
    ("delete", CREDENTIALS): Route("editor", 204),
    ("post", f"{CREDENTIALS}/confirm"): Route("admin", 200),
    ("post", f"{DATA_SOURCE}/schema/refresh"): Route("editor", 202, prepare=enter_password),
    ("get", f"{DATA_SOURCE}/schema/refresh"): Route("viewer", 200, prepare=read_schema),
    ("get", f"{DATA_SOURCE}/schema"): Route("viewer", 200, prepare=read_schema),
    ("get", f"{DATA_SOURCE}/schema/snapshots"): Route("viewer", 200),
    ("get", f"{DATA_SOURCE}/schema/changes"): Route("viewer", 200, prepare=read_schema),
    ("get", f"{DATA_SOURCE}/history"): Route("viewer", 200),
    ("post", f"{DATA_SOURCE}/history/{{version}}/restore"): Route("admin", 200),
}


class RoutesMixin(DataSourceTestMixin):
    """What the table's paths and bodies name."""

    ids: ClassVar[dict[str, Any]]

    @classmethod
    def make_world(cls) -> None:
        super().make_world()
        # There is something to restore, to clear and to confirm.
        cls.data_source.set_credentials({"password": "hunter2"}, user=cls.owner)
        cls.data_source.apply_changes({"host": "moved.example.com"}, user=cls.editor)
        cls.ids = {
            "organization_id": cls.acme.pk,
            "workspace_id": cls.acme.workspaces.create(name="Empty").pk,
            "user_id": cls.make_user("vera", cls.acme).pk,
            "data_source_id": cls.data_source.pk,
            "version": 1,
            "test_id": ConnectionTest.objects.request(
                Configuration("csv"), of=cls.data_source, is_stored=True, user=cls.editor
            ).pk,
        }


class RouteTestCase(RoutesMixin, TestCase):
    """Requests of the table, each of which is undone."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.make_world()

    def everything(self) -> list[Any]:
        models: Any = (Organization, Workspace, Membership, DataSource, DataSourceRevision)
        models += (Credential, ConnectionTest, SchemaRefresh, SchemaSnapshot)
        return [[*model._default_manager.order_by("pk").values()] for model in models]

    def attempt(
        self,
        user: User | None,
        method: str,
        path: str,
        body: Any = None,
        prepare: Callable[[DataSource], object] = lambda data_source: None,
        **options: Any,
    ) -> tuple[Any, bool]:
        """Send a request, undo it, and give the response and whether it changed anything."""
        with transaction.atomic():
            prepare(DataSource.objects.get(pk=self.data_source.pk))
            before = self.everything()
            response = self.call(method, path, body, user, **options)
            has_changed = self.everything() != before
            transaction.set_rollback(True)
        return response, has_changed

    def try_as(self, user: User | None, method: str, path: str) -> tuple[Any, bool]:
        """Attempt what the table says of a route."""
        route = ROUTES[method, path]
        return self.attempt(user, method, path.format(**self.ids), route.body, route.prepare)


class RouteTests(RouteTestCase):
    def test_every_route_is_in_the_table(self):
        found = {
            (method, path.removeprefix("/api/v1"))
            for path, methods in routes()
            for method in methods
        }
        self.assertEqual({*ROUTES} | PUBLIC | OF_ANY_USER, found)

    def test_each_role_may_what_the_contract_says(self):
        for (method, path), route in ROUTES.items():
            for rank, role in enumerate(ROLES):
                with self.subTest(method=method, path=path, role=role):
                    response, has_changed = self.try_as(getattr(self, role), method, path)
                    if rank >= ROLES.index(route.least_role):
                        self.assertEqual(response.status_code, route.success, response.content)
                        self.assertEqual(has_changed, method != "get")
                    else:
                        error = self.assert_error(response, 403, "FORBIDDEN")
                        self.assertIn(route.least_role, error["message"])
                        self.assertFalse(has_changed)

    def test_others_change_nothing_and_learn_nothing(self):
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

    def test_one_who_was_removed_is_as_one_who_never_was(self):
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

    def test_refuses_other_methods(self):
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

    def test_refuses_bodies_that_are_no_object_and_other_media_types(self):
        for (method, path), route in ROUTES.items():
            if route.body is None:
                continue
            body = json.dumps(route.body).encode()
            cases = [(no_object, "application/json", 400) for no_object in NO_OBJECTS]
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

    def test_finds_nothing_for_ids_that_are_none(self):
        for (method, path), route in ROUTES.items():
            for name in re.findall(r"{(\w+)}", path):
                for text in NO_IDS:
                    with self.subTest(method=method, path=path, name=name, id=text[:30]):
                        target = path.format(**{**self.ids, name: text})
                        response, has_changed = self.attempt(self.owner, method, target, route.body)
                        self.assert_error(response, 404, "NOT_FOUND")
                        self.assertFalse(has_changed)
