"""Every route of the API, the role that it needs (contract, section 2), and requests to each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import connection, transaction
from django.test import TestCase

from datasources.connection_tests.models import ConnectionTest
from datasources.connections.configuration import Configuration
from datasources.connections.ssh.host_keys import fingerprint
from datasources.credentials.models import Credential
from datasources.models import DataSource, DataSourceRevision
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.snapshots.models import SchemaSnapshot
from datasources.schemas.testing import column, refresh, table
from datasources.testing import DataSourceTestMixin
from organizations.models import Membership, Organization, User, Workspace
from rivergen.http.input import entity_tag

ROLES = ("viewer", "editor", "admin", "owner")
ORGANIZATION = "/organizations/{organization_id}"
DATA_SOURCE = "/data-sources/{data_source_id}"
CREDENTIALS = f"{DATA_SOURCE}/credentials"


@dataclass(frozen=True)
class Route:
    """What one method of one path needs and answers.

    `least_role` is the least role that may call it, `success` the status for that role, and
    `stranger` the status for the owner of another organization. `body` may be a function of
    the ids.
    """

    least_role: str
    success: int
    body: Any = None
    stranger: int = 404
    prepare: Callable[[DataSource], object] = lambda data_source: None
    """Brings the data source into the state that the route needs."""
    names_version: bool = False
    """Whether the route needs `If-Match` with the current version."""
    knows_versions: bool = False
    """Whether the route honors `If-Match`; all others refuse it."""
    too_low: int = 403
    """The status for a lower role; 409 if each row of many is refused in its place."""

    def body_for(self, ids: dict[str, Any]) -> Any:
        """Return the body of the request for these ids."""
        return self.body(ids) if callable(self.body) else self.body

    def headers(self) -> dict[str, str]:
        """Return the headers that the route needs, for the data source as it is stored now."""
        version = DataSource.objects.values_list("version", flat=True)
        return {"If-Match": entity_tag(version.get())} if self.names_version else {}


def enter_password(data_source: DataSource) -> None:
    """Store a password, which makes all secrets usable."""
    data_source.set_credentials({"password": "hunter2"}, user=None)


def present_host_key(data_source: DataSource) -> None:
    """Record a connection test in which the SSH server presented an unconfirmed host key."""
    key = {"key": HOST_KEY, "fingerprint": fingerprint(HOST_KEY)}
    result = {"ok": False, "version": data_source.version, "ssh_host_key": key}
    data_sources = DataSource.objects.filter(pk=data_source.pk)
    data_sources.record_test(result, version=data_source.version)


def read_schema(data_source: DataSource) -> None:
    """Store a first snapshot of the schema."""
    refresh(data_source, table("orders", column("id")))


def update_many(ids: dict[str, Any]) -> Any:
    """Return the body of an update of many data sources."""
    return {"updates": [{"id": ids["data_source_id"], "port": 5433}]}


HOST_KEY = "ssh-ed25519 AAAA"
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
    ("get", f"{ORGANIZATION}/members/{{user_id}}"): Route("viewer", 200),
    ("patch", f"{ORGANIZATION}/members/{{user_id}}"): Route("admin", 200, {"role": "editor"}),
    ("delete", f"{ORGANIZATION}/members/{{user_id}}"): Route("admin", 204),
    ("get", f"{ORGANIZATION}/workspaces"): Route("viewer", 200),
    ("post", f"{ORGANIZATION}/workspaces"): Route("admin", 201, {"name": "New"}),
    ("get", f"{ORGANIZATION}/workspaces/{{workspace_id}}"): Route("viewer", 200),
    ("patch", f"{ORGANIZATION}/workspaces/{{workspace_id}}"): Route("admin", 200, {"name": "New"}),
    ("delete", f"{ORGANIZATION}/workspaces/{{workspace_id}}"): Route("admin", 204),
    ("get", "/data-source-types"): Route("viewer", 200, stranger=200),
    ("get", "/data-sources"): Route("viewer", 200, stranger=200),
    ("post", "/data-sources"): Route("editor", 201, {"name": "New", "type": "csv"}, stranger=201),
    ("patch", "/data-sources"): Route("editor", 200, update_many, stranger=409, too_low=409),
    ("get", DATA_SOURCE): Route("viewer", 200, knows_versions=True),
    ("patch", DATA_SOURCE): Route("editor", 200, {"port": 5433}, knows_versions=True),
    ("delete", DATA_SOURCE): Route("admin", 204, knows_versions=True),
    ("post", f"{DATA_SOURCE}/test"): Route("editor", 202, prepare=enter_password),
    ("post", "/data-sources/test"): Route("editor", 202, {"type": "csv"}, stranger=202),
    ("post", "/data-sources/apply"): Route("editor", 200, DECLARATIONS, stranger=400),
    ("get", "/connection-tests/{test_id}"): Route("viewer", 200),
    ("post", f"{DATA_SOURCE}/ssh-host-key/confirm"): Route(
        "admin",
        200,
        {"fingerprint": fingerprint(HOST_KEY)},
        prepare=present_host_key,
        knows_versions=True,
    ),
    ("get", CREDENTIALS): Route("viewer", 200, knows_versions=True),
    ("put", CREDENTIALS): Route("editor", 200, {"username": "reader"}, knows_versions=True),
    ("patch", CREDENTIALS): Route("editor", 200, {"username": "reader"}, knows_versions=True),
    ("delete", CREDENTIALS): Route("editor", 204, knows_versions=True),
    ("post", f"{CREDENTIALS}/confirm"): Route(
        "admin", 200, names_version=True, knows_versions=True
    ),
    ("post", f"{DATA_SOURCE}/schema/refresh"): Route("editor", 202, prepare=enter_password),
    ("get", f"{DATA_SOURCE}/schema/refresh"): Route("viewer", 200, prepare=read_schema),
    ("get", f"{DATA_SOURCE}/schema"): Route("viewer", 200, prepare=read_schema),
    ("get", f"{DATA_SOURCE}/schema/snapshots"): Route("viewer", 200),
    ("get", f"{DATA_SOURCE}/schema/changes"): Route("viewer", 200, prepare=read_schema),
    ("get", f"{DATA_SOURCE}/history"): Route("viewer", 200),
    ("post", f"{DATA_SOURCE}/history/{{version}}/restore"): Route(
        "admin", 200, knows_versions=True
    ),
}


class RoutesMixin(DataSourceTestMixin):
    """Create the rows that paths and bodies in ROUTES refer to; `ids` has the path parameters."""

    ids: ClassVar[dict[str, Any]]

    @classmethod
    def make_world(cls) -> None:
        super().make_world()
        # Secrets to clear and confirm, and a version to restore.
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
    """Send requests to the routes in ROUTES, and roll back the changes of each."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.make_world()

    def digests(self) -> tuple[str, ...]:
        """Return a digest of each table that a request to a route in ROUTES may change."""
        models: Any = (Organization, Workspace, Membership, DataSource, DataSourceRevision)
        models += (Credential, ConnectionTest, SchemaRefresh, SchemaSnapshot)
        of_tables = [
            f"(SELECT md5(string_agg(t::text, '\n' ORDER BY {model._meta.pk.column}))"
            f" FROM {model._meta.db_table} t)"
            for model in models
        ]
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {', '.join(of_tables)}")
            return tuple(cursor.fetchone())

    def attempt(
        self,
        user: User | None,
        method: str,
        path: str,
        body: Any = None,
        prepare: Callable[[DataSource], object] = lambda data_source: None,
        **options: Any,
    ) -> tuple[Any, bool]:
        """Send a request and roll it back; return the response, and whether any row changed."""
        with transaction.atomic():
            prepare(DataSource.objects.get(pk=self.data_source.pk))
            before = self.digests()
            response = self.call(method, path, body, user, **options)
            has_changed = self.digests() != before
            transaction.set_rollback(True)
        return response, has_changed

    def try_as(self, user: User | None, method: str, path: str) -> tuple[Any, bool]:
        """Send the request of a route as a user, as `attempt` does."""
        route = ROUTES[method, path]
        target = path.format(**self.ids)
        return self.attempt(
            user, method, target, route.body_for(self.ids), route.prepare, headers=route.headers()
        )
