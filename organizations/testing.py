"""The shared world of the tests: two organizations, their users, and calls of the API."""

from typing import Any, ClassVar

from django.conf import settings
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken, Token

from organizations.models import Membership, Organization, Role, User, Workspace

ISSUED_BY = {"iss": "ISSUER", "aud": "AUDIENCE"}
PASSWORD = "correct horse battery staple"


def signed_claims(token: Token) -> dict[str, Any]:
    """Return the claims of a token as they are signed."""
    issued = {name: settings.SIMPLE_JWT[setting] for name, setting in ISSUED_BY.items()}
    return issued | token.payload


def bearer(user: User) -> str:
    """Return the `Authorization` header of a user."""
    return f"Bearer {AccessToken.for_user(user)}"


class APITestMixin:
    """Requests with real tokens, and the users who send them."""

    owner: ClassVar[User]
    admin: ClassVar[User]
    editor: ClassVar[User]
    viewer: ClassVar[User]
    stranger: ClassVar[User]
    loner: ClassVar[User]
    acme: ClassVar[Organization]
    globex: ClassVar[Organization]
    workspace: ClassVar[Workspace]

    @classmethod
    def make_world(cls) -> None:
        """Create the two organizations and their users."""
        cls.acme = Organization.objects.create(name="Acme", slug="acme")
        cls.globex = Organization.objects.create(name="Globex", slug="globex")
        cls.workspace = cls.acme.workspaces.get()

        # Olivia founded Acme and is its only owner.
        cls.owner = cls.make_user("olivia", cls.acme, Role.OWNER)
        # Adam runs Acme's platform.
        cls.admin = cls.make_user("adam", cls.acme, Role.ADMIN)
        # Edith keeps Acme's connections up to date, many times a day.
        cls.editor = cls.make_user("edith", cls.acme, Role.EDITOR)
        # Victor reads Acme's reports.
        cls.viewer = cls.make_user("victor", cls.acme, Role.VIEWER)
        # Stella owns Globex and must never learn what Acme has.
        cls.stranger = cls.make_user("stella", cls.globex, Role.OWNER)
        # Leo has an account, and is a member of no organization.
        cls.loner = cls.make_user("leo")

    @staticmethod
    def make_user(
        username: str, organization: Organization | None = None, role: str = Role.VIEWER
    ) -> User:
        """Create a user, and a membership if an organization is given."""
        user = User.objects.create_user(username, password=PASSWORD)
        if organization is not None:
            Membership.objects.create(user=user, organization=organization, role=role)
        return user

    def call(
        self, method: str, path: str, data: Any = None, user: User | None = None, **extra: Any
    ) -> Any:
        """Send a request below /api/v1 as `user`; `data` is sent as JSON, bytes unchanged.

        `extra` are keyword arguments of Django's test client, such as `headers`.
        """
        headers = {**({"Authorization": bearer(user)} if user else {}), **extra.pop("headers", {})}
        client = APIClient(raise_request_exception=False)
        content: dict[str, Any] = {}
        if isinstance(data, bytes):
            content = {"data": data, "content_type": extra.pop("content_type", "application/json")}
        elif data is not None and "content_type" in extra:
            raise TypeError("A content type needs data in bytes.")
        elif data is not None:
            content = {"data": data, "format": "json"}
        return getattr(client, method)(f"/api/v1{path}", headers=headers, **content, **extra)

    def assert_error(self, response: Any, status: int, code: str, *fields: str) -> dict[str, Any]:
        """Assert that a response is an error envelope with this code and exactly these fields."""
        body = response.json()
        assert response.status_code == status, body
        assert body["success"] is False and list(body) == ["success", "error"], body
        error: dict[str, Any] = body["error"]
        extra = ["conflict"] if status == 412 else []
        assert list(error) == ["code", "message", "details", "request_id", *extra], error
        assert error["code"] == code, error
        assert error["request_id"] == response["X-Request-ID"]
        assert error["message"], error
        assert sorted(error["details"]) == sorted(fields), error
        return error

    def statements(self) -> CaptureQueriesContext:
        """Capture SQL statements; `len(sql(captured))` is their number."""
        return CaptureQueriesContext(connection)


def blocked_connections() -> int:
    """Return the number of connections to this database that wait for a lock."""
    with connection.cursor() as cursor:
        # Within a transaction, PostgreSQL would repeat the first snapshot of its statistics.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


def sql(captured: CaptureQueriesContext) -> list[str]:
    """Return the captured statements, except those that begin and end transactions.

    Within a TestCase, transactions are savepoints.
    """
    control = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE SAVEPOINT")
    return [
        query["sql"] for query in captured.captured_queries if not query["sql"].startswith(control)
    ]


class APITestCase(APITestMixin, TestCase):
    """A test case in the shared world."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.make_world()
