"""Test cases for credentials."""

from typing import Any

from datasources.credentials.models import Credential
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from organizations.models import User

PASSWORD = "hunter2"
SSH_PASSWORD = "hunter3"


class RevisionTestCase(DataSourceTestCase):
    """A test case that reads the history of the data source."""

    def newest_changes(self) -> dict[str, Any]:
        """Return the changes of the newest revision."""
        changes: dict[str, Any] = self.data_source.revisions.get(
            version=self.stored()["version"]
        ).changes
        return changes


class CredentialTestCase(RevisionTestCase):
    """A test case whose data source has two secrets and a value in every destination field.

    The tunnel is off, but its fields are set.
    """

    @classmethod
    def make_world(cls) -> None:
        super().make_world()
        cls.data_source.apply_changes(
            {
                "connection_string": "postgresql://reader@db.example.com:5432/x?sslmode=require",
                "ssh_host": "bastion.example.com",
                "ssh_username": "tunnel",
                "ssh_local_port": 9_000,
            },
            user=cls.owner,
        )
        secrets = {"password": PASSWORD, "ssh_password": SSH_PASSWORD}
        cls.data_source.set_credentials(secrets, user=cls.owner)

    def fetch(self) -> DataSource:
        """Return the data source as stored."""
        return DataSource.objects.get(pk=self.data_source.pk)

    def credential(self, field: str = "password") -> Credential:
        """Return the stored row of a secret."""
        return Credential.objects.get(data_source=self.data_source, field=field)


class CredentialsEndpointTestCase(RevisionTestCase):
    """A test case that calls the credentials endpoint of the data source."""

    def setUp(self) -> None:
        self.path = f"/data-sources/{self.data_source.pk}/credentials"

    def use_type(self, type_name: str) -> None:
        """Create a data source of this type, and use it for the rest of the test."""
        self.data_source = DataSource.objects.create(
            workspace=self.workspace, name=type_name, type=type_name
        )
        self.path = f"/data-sources/{self.data_source.pk}/credentials"

    def send(self, method: str, body: Any = None, user: User | None = None, **extra: Any) -> Any:
        """Call the endpoint, as the editor unless `user` is given."""
        return self.call(method, self.path, body, user or self.editor, **extra)

    def shown(self) -> dict[str, Any]:
        """Return the credentials as a viewer gets them."""
        data: dict[str, Any] = self.send("get", user=self.viewer).json()["data"]
        return data

    def secrets(self) -> dict[str, str]:
        """Return the stored secrets in clear."""
        data_source = DataSource.objects.get(pk=self.data_source.pk)
        return {**data_source.credentials.open()}

    def assert_refused(self, method: str, body: Any, *fields: str) -> dict[str, Any]:
        """Assert that a body is 400 for these fields, and stores nothing."""
        before = self.stored(), [*Credential.objects.values()]
        error = self.assert_error(self.send(method, body), 400, "BAD_REQUEST", *fields)
        self.assertEqual((self.stored(), [*Credential.objects.values()]), before)
        return error
