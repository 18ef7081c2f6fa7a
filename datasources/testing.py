"""A data source in the world of the tests."""

from datetime import datetime
from threading import Thread
from typing import Any

from django.test import Client

from datasources.models import DataSource
from organizations.models import User
from organizations.testing import APITestCase, APITestMixin, blocked_connections

ADMIN_PAGES = "/admin/datasources/datasource/"


def admin_client(user: User, **options: Any) -> Client:
    """Let a user into the Django admin; give a browser's session of its."""
    User.objects.filter(pk=user.pk).update(is_staff=True, is_superuser=True)
    client = Client(**options)
    client.force_login(user)
    return client


def filled_in(client: Client, page: str, **values: Any) -> dict[str, Any]:
    """Fill in the form of an admin page as it stands, with other values for some fields."""
    form: Any = client.get(page).context["adminform"].form
    shown = {name: form[name].value() for name in form.fields}
    return {
        name: value
        for name, value in (shown | values).items()
        if value is not None and value is not False  # which a browser would not send
    }


class DataSourceTestMixin(APITestMixin):
    """The seed's data source, as its document shows it before the update."""

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
        """Give the row as the database has it, by column."""
        return dict(DataSource.objects.filter(pk=self.data_source.pk).values().get())

    def shown(self) -> dict[str, Any]:
        """Give the data source as `GET` shows it."""
        data: dict[str, Any] = self.call("get", self.path, user=self.viewer).json()["data"]
        return data

    @staticmethod
    def wait_for_lock(thread: Thread) -> None:
        """Return once a connection waits for a lock, or `thread` has ended and none will."""
        while thread.is_alive() and not blocked_connections():
            pass

    @staticmethod
    def read_time(text: str) -> datetime:
        """Read a time of the API, which must be in UTC and end in Z."""
        assert text.endswith("Z"), text
        return datetime.fromisoformat(text)


class DataSourceTestCase(DataSourceTestMixin, APITestCase):
    """A test case with the seed's data source."""
