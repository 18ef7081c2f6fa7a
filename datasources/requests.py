"""What a request about one data source brings: which one, which version of it, and whose it is."""

from typing import Any

from django.utils.http import parse_etags
from rest_framework.request import Request

from datasources.models import DataSource, DataSourceRevision
from organizations.authentication import caller
from organizations.models import Membership, Role, User
from organizations.permissions import require_membership, require_role, require_role_anywhere
from organizations.viewsets import ScopedViewSet
from rivergen.exceptions import PreconditionFailed
from rivergen.middleware import request_id
from rivergen.parsers import MergePatchParser


def find_locked(view: ScopedViewSet, role: Role) -> DataSource:
    """Fetch the data source in the path for a change; it stays locked until the commit.

    Raises 401, 403 (also below `role`) or 404.
    """
    view.receive_body()
    data_sources = DataSource.objects.for_user(caller(view.request)).for_update()
    data_source: DataSource = view.find(data_sources, view.kwargs["data_source_id"])
    require_role(data_source.role, role)
    return data_source


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
    return {
        "user": caller(request),
        "origin": DataSourceRevision.Origin.API,
        "request_id": request_id.get(),
        "is_locked": True,
    }


def is_version_meant(request: Request, data_source: DataSource) -> bool:
    """Whether `If-Match` names this version, or is absent (RFC 9110, section 13.1.1)."""
    tags = parse_etags(request.headers.get("If-Match", "*"))
    return "*" in tags or data_source.etag in tags


def check_precondition(request: Request, data_source: DataSource) -> None:
    """Raise PreconditionFailed (412) if `If-Match` names other versions only."""
    if not is_version_meant(request, data_source):
        raise PreconditionFailed(data_source.etag)


def is_merge_patch(request: Request) -> bool:
    """Whether the body is a JSON merge patch (RFC 7396) rather than plain JSON."""
    media_type: str = request.content_type.partition(";")[0].strip().lower()
    return media_type == MergePatchParser.media_type
