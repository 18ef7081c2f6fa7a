"""The base of all viewsets of data sources: fetches the row, checks the role and the version."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied as ModelPermissionDenied
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import IntegrityError
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from datasources.models import Author, DataSource, DataSourceRevision
from datasources.models.validators import NAMES_SECRET
from datasources.preconditions import judge
from datasources.serializers import DataSourceSerializer
from organizations.models import ROLES_WITH, Membership, Role, User
from organizations.permissions import require_membership, require_role_anywhere, role_refusal
from organizations.viewsets import ScopedViewSet
from rivergen.errors import DomainError
from rivergen.http.input import read_id
from rivergen.http.preconditions import IF_MATCH
from rivergen.http.responses import SuccessResponse, exception_handler, is_refusal
from rivergen.observability.logs import request_id

NEXT_STEPS = {
    "CREDENTIALS_UNCONFIRMED": "POST /api/v1/data-sources/{data_source_id}/credentials/confirm",
    "CREDENTIALS_UNREADABLE": "PATCH /api/v1/data-sources/{data_source_id}/credentials",
    "SCHEMA_NOT_READ": "POST /api/v1/data-sources/{data_source_id}/schema/refresh",
    "SNAPSHOT_NOT_FOUND": "GET /api/v1/data-sources/{data_source_id}/schema/snapshots",
}
"""The request to send next after a failure, by its code. Models name no paths."""

SET_CREDENTIALS = "PUT /api/v1/data-sources/{data_source_id}/credentials"


REFUSALS = (APIException, DomainError, ModelValidationError, ModelPermissionDenied, IntegrityError)
"""The exceptions by which a request about one data source is refused; see `refusal_of`."""


class DataSourceScopedViewSet(ScopedViewSet):
    """Endpoints below `/data-sources/{data_source_id}`, within the caller's organizations."""

    author: Author
    """The author of this request's changes, as revisions record it."""
    data_source_id: int
    """The id in the path; 0, which no data source has, if there is none."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        self.author = author_of(request)
        self.data_source_id = read_id(kwargs.get("data_source_id", ""))

    def get_data_source(self, role: Role | None = None, *, lock: bool = False) -> DataSource:
        """Return the data source in the path; with `lock`, locked until the commit.

        Raises 401, 403 (also for less than `role`) or 404.
        """
        user: Any = self.request.user
        get = DataSource.objects.locked_for if lock else DataSource.objects.visible_to
        try:
            data_source: DataSource = get(user, self.data_source_id)
        except DataSource.DoesNotExist:
            self.refuse_missing_row()
        self.organization_id = data_source.organization_id
        if role is not None and data_source.role not in ROLES_WITH[role]:
            raise role_refusal(data_source.role, role)
        return data_source

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, ValidationError):
            exc.detail = name_credentials_endpoint(exc.detail, **self.kwargs)
        response = super().handle_exception(exc)
        # Drafts, and updates with `verify`, have nothing stored that a next request could repair.
        if "data_source_id" in self.kwargs and "verify" not in self.request.query_params:
            name_next_step(exc, response, **self.kwargs)
        return response


def name_credentials_endpoint(
    detail: Any, data_source_id: str = "{data_source_id}", **_: str
) -> Any:
    """Return the details of a ValidationError, with the endpoint where they are about secrets.

    Validators of the model have only the code: the admin shows the same sentences.
    """
    if isinstance(detail, dict):
        return {
            name: name_credentials_endpoint(value, data_source_id) for name, value in detail.items()
        }
    if isinstance(detail, list):
        return [name_credentials_endpoint(item, data_source_id) for item in detail]
    if getattr(detail, "code", None) != NAMES_SECRET:
        return detail
    return f"{detail} Use {SET_CREDENTIALS.format(data_source_id=data_source_id)}."


def name_next_step(exc: Exception, response: Response, **ids: Any) -> None:
    """Add the request to send next to the message of a failure, if there is one."""
    if isinstance(exc, DomainError) and (step := NEXT_STEPS.get(exc.code)):
        response.data["error"]["message"] += f" {step.format(**ids)}"


def refusal_of(exc: Exception, data_source_id: int) -> dict[str, Any]:
    """Return `status` and `error` of one of `REFUSALS`, as a request of its own is answered.

    Raises the exception again if its status is 500 or more: then the whole request has failed.
    """
    if isinstance(exc, ValidationError):
        exc.detail = name_credentials_endpoint(exc.detail, str(data_source_id))
    if not is_refusal(exc):
        raise exc
    response = exception_handler(exc, {})
    name_next_step(exc, response, data_source_id=data_source_id)
    return {"status": response.status_code, "error": response.data["error"]}


def author_of(request: Request) -> Author:
    """Return the author of the changes that a request to the API makes."""
    assert isinstance(request.user, User)
    return Author(request.user, DataSourceRevision.Origin.API, request_id.get())


def check_if_match(
    request: Request,
    data_source: DataSource,
    named: Iterable[str] = (),
    *,
    is_required: bool | None = None,
) -> None:
    """Raise 412 or 428 if `If-Match` does not allow the request for this version.

    `named` are the fields that the request would change. `is_required`: the request must name a
    version; None, for a locked row, if its organization requires it.
    """
    if is_required is None:
        is_required = data_source.requires_if_match
    if_match = request.META.get(IF_MATCH)
    refusal = judge(data_source, if_match, named=named, is_required=is_required)
    if refusal is not None:
        raise refusal


def creating_roles(user: User) -> dict[int, str]:
    """Return the caller's roles by organization id. Raises 401, or 403 if none may create."""
    roles = dict(Membership.objects.for_user(user).values_list("organization_id", "role"))
    if not roles:
        require_membership(user)
    require_role_anywhere(roles.values(), Role.EDITOR)
    return roles


def data_source_response(
    data_source: DataSource,
    message: str,
    status: int = HTTPStatus.OK,
    headers: dict[str, str] | None = None,
    **options: Any,
) -> SuccessResponse:
    """Return the response that shows one data source, with its ETag.

    `options` are further arguments of `SuccessResponse`.
    """
    data = DataSourceSerializer(data_source).data
    return SuccessResponse(data, message, status, headers, version=data_source.version, **options)
