"""Test cases that start with one data source, and helpers for the admin pages."""

from datetime import datetime
from threading import Thread
from typing import Any

from django.test import Client

from datasources.models import DataSource
from organizations.models import User
from organizations.testing import APITestCase, APITestMixin, blocked_connections

ADMIN_PAGES = "/admin/datasources/datasource/"

# "Update Data Source", Request Body and Success (200).
SEED_REQUEST = {
    "name": "Updated PostgreSQL",
    "description": "Updated description",
    "host": "newhost.example.com",
    "port": 5433,
    "connection_pool_size": 10,
    "connection_timeout": 60,
    "tags": ["updated", "production"],
}
SEED_RESPONSE = {
    "success": True,
    "data": {
        "id": 1,
        "organization_id": 1,
        "workspace_id": 1,
        "name": "Updated PostgreSQL",
        "type": "postgresql",
        "description": "Updated description",
        "host": "newhost.example.com",
        "port": 5433,
        "database_name": "production",
        "schema_name": "public",
        "connection_pool_size": 10,
        "connection_timeout": 60,
        "query_timeout": 300,
        "max_retries": 3,
        "status": "active",
        "tags": ["updated", "production"],
        "updated_at": "2024-12-01T11:00:00Z",
        "updated_by_user_id": 1,
    },
    "message": "Data source updated successfully",
}


def admin_client(user: User, **options: Any) -> Client:
    """Make a user staff and superuser, and return a client that is signed in to the admin."""
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    client = Client(**options)
    client.force_login(user)
    return client


def filled_in(client: Client, page: str, **values: Any) -> dict[str, Any]:
    """Return the form data of an admin page as shown, with other values for some fields."""
    form: Any = client.get(page).context["adminform"].form
    shown = {name: form[name].value() for name in form.fields}
    return {
        name: value
        for name, value in (shown | values).items()
        if value is not None and value is not False  # which a browser would not send
    }


class DataSourceTestMixin(APITestMixin):
    """Creates the data source of the API document, as it is before the documented update."""

    data_source: DataSource
    path: str

    @classmethod
    def make_world(cls) -> None:
        super().make_world()
        cls.data_source = DataSource.objects.create(
            workspace=cls.workspace,
            name="Production PostgreSQL",
            type=DataSource.Type.POSTGRESQL,
            host="db.example.com",
            port=5432,
            database_name="production",
            schema_name="public",
            created_by=cls.owner,
            updated_by=cls.owner,
        )
        cls.path = f"/data-sources/{cls.data_source.pk}"

    def stored(self) -> dict[str, Any]:
        """Return the row of the data source as stored, by column."""
        return dict(DataSource.objects.filter(pk=self.data_source.pk).values().get())

    def shown(self) -> dict[str, Any]:
        """Return the data source as `GET` shows it."""
        data: dict[str, Any] = self.call("get", self.path, user=self.viewer).json()["data"]
        return data

    @staticmethod
    def wait_for_lock(thread: Thread) -> None:
        """Return when a connection waits for a lock, or when `thread` has ended."""
        while thread.is_alive() and not blocked_connections():
            pass

    @staticmethod
    def read_time(text: str) -> datetime:
        """Return the datetime of a timestamp of the API, which must end in Z."""
        assert text.endswith("Z"), text
        return datetime.fromisoformat(text)


class DataSourceTestCase(DataSourceTestMixin, APITestCase):
    """A test case with the data source of the API document."""
