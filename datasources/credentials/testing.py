"""A data source with secrets in the world of the tests."""

from typing import Any

from datasources.credentials.models import Credential
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase

PASSWORD = "hunter2"
SSH_PASSWORD = "hunter3"


class CredentialTestCase(DataSourceTestCase):
    """A test case whose data source has secrets, and something in every field of its destination.

    The tunnel is off, but ready to be switched on.
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
        """Give the data source as it is stored."""
        return DataSource.objects.get(pk=self.data_source.pk)

    def newest_changes(self) -> dict[str, Any]:
        """Give what the newest version of the history says."""
        changes: dict[str, Any] = self.data_source.revisions.get(
            version=self.stored()["version"]
        ).changes
        return changes

    def credential(self, field: str = "password") -> Credential:
        """Give the stored row of a secret."""
        return Credential.objects.get(data_source=self.data_source, field=field)
