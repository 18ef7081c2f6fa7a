"""Starting a schema refresh on request, from the API or the admin."""

from datasources.connection_tests.throttling import count_test
from datasources.models import DataSource
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.tasks import enqueue
from organizations.models import User


def start_refresh(data_source: DataSource, user: User) -> SchemaRefresh:
    """Return the running refresh of a locked data source, or start and enqueue a new one.

    Raises CredentialsUnconfirmed and CredentialsUnreadable (409), and Throttled (429).
    """
    data_source.configuration()  # raises if its secrets cannot be used
    if data_source.schema_status == DataSource.SchemaStatus.REFRESHING:
        running: SchemaRefresh = data_source.schema_refresh
        return running
    count_test(data_source.organization_id)
    [refresh] = SchemaRefresh.objects.start([data_source], user)
    enqueue([refresh], is_urgent=True)
    return refresh
