"""What a request about one data source brings: which one, which version of it, and whose it is."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections
from django.utils.http import parse_etags
from rest_framework.request import Request

from datasources.models import DataSource, DataSourceRevision
from datasources.models.querysets import DataSourceQuerySet
from organizations.authentication import caller
from organizations.models import Membership, Role, User
from organizations.permissions import require_membership, require_role, require_role_anywhere
from organizations.viewsets import ScopedViewSet
from rivergen.http.exceptions import PreconditionFailed, PreconditionRequired
from rivergen.http.parsers import MergePatchParser
from rivergen.observability.logs import request_id
from rivergen.postgresql import replica
from rivergen.postgresql.prepared import CompiledGet, CompiledQuery

T = TypeVar("T")

ANY_VERSION = "*"


def of_user(user_id: int, pk: int) -> DataSourceQuerySet:
    """Give the data source, if the user may see it."""
    return DataSource.objects.for_user(User(pk=user_id)).filter(pk=pk)


IS_REPLICATED = f"""
SELECT 1 FROM {DataSource._meta.db_table}
WHERE id = %s AND version = %s AND schema_refreshed_at IS NOT DISTINCT FROM %s
"""

READ = CompiledGet(DataSource, of_user)
LOCK = CompiledGet(DataSource, lambda user_id, pk: of_user(user_id, pk).with_policy().for_update())
MEMBERSHIPS = CompiledQuery(
    lambda user_id: Membership.objects.for_user(User(pk=user_id)).values_list(
        "organization_id", "user__last_write_position"
    )
)


def find_locked(view: ScopedViewSet, role: Role) -> DataSource:
    """Fetch the data source in the path for a change; it stays locked until the commit.

    Raises 401, 403 (also below `role`) or 404.
    """
    view.receive_body()
    data_source = fetch(view, LOCK)
    require_role(data_source.role, role)
    return data_source


def find_data_source(view: ScopedViewSet) -> DataSource:
    """Fetch the data source in the path. Raises 401, 403 or 404."""
    return fetch(view, READ)


def fetch(view: ScopedViewSet, get: CompiledGet[DataSource]) -> DataSource:
    """Fetch the data source in the path, if it is in an organization of the caller's."""
    get_mine = functools.partial(get, caller(view.request).pk)
    data_source: DataSource = view.find_by(get_mine, view.kwargs["data_source_id"])
    view.organization_id = data_source.organization_id
    return data_source


def read_among(user: User, answer: Callable[[DataSourceQuerySet], T]) -> T:
    """Answer from the data sources of the organizations that an active user belongs to.

    They are the replica's, if that has all that the user has changed.
    """
    memberships = MEMBERSHIPS.rows(user.pk)
    ids = [organization_id for organization_id, _ in memberships]
    position = max((position for _, position in memberships), default=0)

    def on_replica() -> T:
        replica.require_replayed(position)
        return answer(DataSource.objects.using(replica.REPLICA).in_organizations(ids))

    return replica.read(on_replica, lambda: answer(DataSource.objects.in_organizations(ids)))


def read_about(data_source: DataSource, answer: Callable[[DataSource], T]) -> T:
    """Answer from what the replica has of a data source, if that is no older than the row given.

    `answer` gets the data source of one database or the other, and reads what belongs to it there.
    """
    return replica.read(lambda: answer(replicated(data_source)), lambda: answer(data_source))


def replicated(data_source: DataSource) -> DataSource:
    """Give a data source as the replica has it. Raises BehindError if its row is another one yet.

    With its version comes the history up to there, and with the time of the last reading its
    schema, whoever wrote them: each is written in one transaction with the row.
    """
    values = [data_source.pk, data_source.version, data_source.schema_refreshed_at]
    with connections[replica.REPLICA].cursor() as cursor:
        cursor.execute(IS_REPLICATED, values)
        if cursor.fetchone() is None:
            raise replica.BehindError
    return DataSource.from_db(
        replica.REPLICA, ["id", "schema_refreshed_at"], [values[0], values[2]]
    )


def creating_roles(user: User) -> dict[int, str]:
    """Give the roles of a caller who may create somewhere, by organization.

    Raises 401 or 403.
    """
    roles = dict(Membership.objects.for_user(user).values_list("organization_id", "role"))
    if not roles:
        require_membership(user)
    require_role_anywhere(roles.values(), Role.EDITOR)
    return roles


def recorded(request: Request) -> dict[str, Any]:
    """Say how the history records a change by this request; the row is locked already."""
    return {**recorded_as(caller(request), DataSourceRevision.Origin.API), "is_locked": True}


def recorded_as(user: User, origin: str) -> dict[str, Any]:
    """Say how the history records a change by the request at hand, whichever way it came in."""
    return {"user": user, "origin": origin, "request_id": request_id.get()}


def is_version_meant(request: Request, data_source: DataSource) -> bool:
    """Whether `If-Match` names the version of this locked row (RFC 9110, section 13.1.1).

    Where none is required, its absence will do, as does `*`.
    """
    tags = parse_etags(request.headers.get("If-Match", ANY_VERSION))
    is_any = ANY_VERSION in tags and not data_source.requires_if_match
    return is_any or data_source.etag in tags


def check_precondition(request: Request, data_source: DataSource) -> None:
    """Raise PreconditionFailed (412) if `If-Match` names other versions only.

    Raises PreconditionRequired (428) if it names none, and the organization requires one.
    """
    if is_version_meant(request, data_source):
        return
    if request.headers.get("If-Match", ANY_VERSION).strip() == ANY_VERSION:
        raise PreconditionRequired
    raise PreconditionFailed(data_source.etag)


def is_merge_patch(request: Request) -> bool:
    """Whether the body is a JSON merge patch (RFC 7396) rather than plain JSON."""
    media_type: str = request.content_type.partition(";")[0].strip().lower()
    return media_type == MergePatchParser.media_type
