"""What the page of a data source shows beside its form, each with its buttons."""

from typing import Any

from datasources.connections.ssh.host_keys import fingerprint
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from organizations.models import User


def panels(data_source: DataSource, user: User, is_refused: bool) -> dict[str, Any]:
    """Give the state of the credentials, the last test and the last refresh.

    A form that `is_refused` shows what was entered, be it of an older version. Nothing is confirmed
    beside it: whoever does so goes by what the form shows, and it would hold for what is stored.
    """
    may_confirm = data_source.may_be_confirmed_by(user)
    waits = data_source.credentials_status == DataSource.CredentialsStatus.UNCONFIRMED
    key_waits = data_source.has_unconfirmed_host_key
    key = data_source.presented_host_key
    return {
        "data_source": data_source,
        "secrets": data_source.credentials.select_related("set_by"),
        "credentials_wait": waits,
        "host_key_waits": key_waits,
        "host_key": key and fingerprint(key),
        "may_confirm": may_confirm and not is_refused,
        "must_open_again": may_confirm and is_refused and (waits or key_waits),
        "last_test": data_source.last_test,
        "last_refresh": SchemaRefresh.objects.filter(data_source=data_source).first(),
        "last_snapshot": data_source.schema_snapshots.summaries().first(),
    }
