"""Panels beside the form of a data source: connection, credentials, schema."""

from typing import Any

from datasources.connections.ssh.host_keys import fingerprint
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from organizations.models import User


def panels(data_source: DataSource, user: User, has_errors: bool) -> dict[str, Any]:
    """Return the context of the panels: credentials, last connection test, last refresh.

    If the form `has_errors`, it shows a destination that is not stored. The confirm buttons are
    hidden then: they would confirm the stored destination, which the page does not show.
    """
    may_confirm = data_source.may_be_confirmed_by(user)
    is_unconfirmed = data_source.credentials_status == DataSource.CredentialsStatus.UNCONFIRMED
    is_key_unconfirmed = data_source.has_unconfirmed_host_key
    key = data_source.presented_host_key
    return {
        "data_source": data_source,
        "secrets": data_source.credentials.select_related("set_by"),
        "are_credentials_unconfirmed": is_unconfirmed,
        "is_host_key_unconfirmed": is_key_unconfirmed,
        "host_key": key and fingerprint(key),
        "may_confirm": may_confirm and not has_errors,
        "must_reload": may_confirm and has_errors and (is_unconfirmed or is_key_unconfirmed),
        "last_test": data_source.last_test,
        "last_refresh": SchemaRefresh.objects.filter(data_source=data_source).first(),
        "last_snapshot": data_source.schema_snapshots.summaries().first(),
    }
