"""What the page of a data source shows beside its form, each with its buttons."""

from typing import Any

from datasources.connections.host_keys import fingerprint
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from organizations.models import User


def panels(data_source: DataSource, user: User) -> dict[str, Any]:
    """Give the state of the credentials, the last test and the last refresh."""
    may_confirm = data_source.may_be_confirmed_by(user)
    waits = data_source.credentials_status == DataSource.CredentialsStatus.UNCONFIRMED
    key = data_source.met_host_key
    return {
        "data_source": data_source,
        "secrets": data_source.credentials.select_related("set_by"),
        "credentials_wait": waits,
        "host_key_waits": data_source.has_waiting_host_key,
        "host_key": key and fingerprint(key),
        "may_confirm": may_confirm,
        "last_test": data_source.last_test,
        "last_refresh": SchemaRefresh.objects.filter(data_source=data_source).first(),
        "last_snapshot": data_source.schema_snapshots.summaries().first(),
    }
