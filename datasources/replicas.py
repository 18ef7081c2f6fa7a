"""Reading data sources from a streaming replica, if it is new enough for the caller."""

from collections.abc import Callable
from typing import TypeVar

from django.db import connections

from datasources.models import DataSource
from datasources.models.querysets import DataSourceQuerySet
from organizations.models import Membership, User
from rivergen.postgresql import replica
from rivergen.postgresql.prepared import PreparedQuery

T = TypeVar("T")

IS_REPLICATED = f"""
SELECT 1 FROM {DataSource._meta.db_table}
WHERE id = %s AND version = %s AND schema_refreshed_at IS NOT DISTINCT FROM %s
"""
MEMBERSHIPS = PreparedQuery(
    lambda user_id: Membership.objects.for_user(User(pk=user_id)).values_list(
        "organization_id", "user__last_write_position"
    )
)


def list_via_replica(user: User, answer: Callable[[DataSourceQuerySet], T]) -> T:
    """Return `answer` of the data sources that an active user may see.

    They are read from the replica if it has replayed all changes of this user, otherwise from the
    primary.
    """
    memberships = MEMBERSHIPS.rows(user.pk)
    ids = [organization_id for organization_id, _ in memberships]
    position = max((position for _, position in memberships), default=0)

    def on_replica() -> T:
        replica.require_replayed(position)
        return answer(DataSource.objects.using(replica.REPLICA).in_organizations(ids))

    return replica.read(on_replica, lambda: answer(DataSource.objects.in_organizations(ids)))


def read_via_replica(data_source: DataSource, answer: Callable[[DataSource], T]) -> T:
    """Return `answer` of a data source, read from the replica if it is as new as this row.

    `answer` gets an instance that is bound to the replica or to the primary, and reads from there.
    """
    return replica.read(lambda: answer(replicated(data_source)), lambda: answer(data_source))


def replicated(data_source: DataSource) -> DataSource:
    """Return the data source bound to the replica. Raises BehindError if the row differs there.

    If it does not, the replica also has the history up to this version and the schema read at
    `schema_refreshed_at`: each is written in one transaction with the row.
    """
    values = [data_source.pk, data_source.version, data_source.schema_refreshed_at]
    with connections[replica.REPLICA].cursor() as cursor:
        cursor.execute(IS_REPLICATED, values)
        if cursor.fetchone() is None:
            raise replica.BehindError
    return DataSource.from_db(
        replica.REPLICA, ["id", "schema_refreshed_at"], [values[0], values[2]]
    )
