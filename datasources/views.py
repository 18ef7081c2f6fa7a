"""Data sources over HTTP: each method is the table of contents of what it does."""

from http import HTTPStatus
from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db import transaction
from django.http import HttpResponse
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import NotFound, Throttled
from rest_framework.request import Request
from rest_framework.response import Response

from datasources import openapi
from datasources.connection_tests.verification import Verification
from datasources.connection_tests.waiting import waiting_place
from datasources.filters import DataSourceFilter
from datasources.models import DataSource, DataSourceRevision
from datasources.serializers import (
    DataSourceCreateSerializer,
    DataSourceRevisionSerializer,
    DataSourceSerializer,
    DataSourceUpdateSerializer,
)
from datasources.viewsets import (
    check_precondition,
    creating_roles,
    find_data_source,
    find_locked,
    is_merge_patch,
    is_version_meant,
    read_about,
    read_among,
    recorded,
)
from organizations.authentication import caller
from organizations.idempotency.requests import IdempotentRequest, idempotent
from organizations.models import Role
from organizations.permissions import require_role
from organizations.viewsets import ScopedViewSet
from rivergen.http.exceptions import Conflict
from rivergen.http.input import (
    check_parameters,
    is_known,
    read_body,
    read_id,
    read_no_body,
    read_switch,
)
from rivergen.http.openapi import describe
from rivergen.http.responses import SuccessResponse
from rivergen.observability.logs import note, request_id
from rivergen.postgresql.retries import retried


class DataSourceViewSet(ScopedViewSet):
    """Data sources of the organizations the caller belongs to."""

    queryset = DataSource.objects.none()  # names the model to openapi.json
    http_method_names = ["get", "head", "post", "patch", "delete"]
    lookup_url_kwarg = "data_source_id"
    lookup_value_regex = "[^/]+"
    serializer_class = DataSourceSerializer
    filter_backends = [DjangoFilterBackend]
    filterset_class = DataSourceFilter
    repeatable_parameters = ("tag",)
    ordering = "name"
    ordering_fields = ("name", "created_at", "updated_at")

    @describe(**openapi.LIST)
    def list(self, request: Request) -> Response:
        """List the data sources of the caller's organizations, page by page."""
        return read_among(
            caller(request),
            lambda found: self.list_page(request, "Data sources retrieved successfully", found),
        )

    @describe(**openapi.CREATE)
    @retried
    @idempotent
    def create(self, request: Request) -> Response:
        """Create a data source (editor, admin, owner)."""
        user = caller(request)
        roles = creating_roles(user)
        serializer = DataSourceCreateSerializer(data=read_body(request), context={"roles": roles})
        serializer.is_valid(raise_exception=True)
        data_source = DataSource(**serializer.validated_data, created_by=user, updated_by=user)
        note(organization_id=data_source.workspace.organization_id)
        require_role(roles[data_source.workspace.organization_id], Role.EDITOR)
        self.organization_id = data_source.workspace.organization_id
        data_source.save(origin=DataSourceRevision.Origin.API, request_id=request_id.get())
        response = data_source_response(
            data_source, "Data source created successfully", HTTPStatus.CREATED
        )
        response["Location"] = f"/api/v1/data-sources/{data_source.pk}"
        return response

    @describe(**openapi.RETRIEVE)
    def retrieve(self, request: Request, data_source_id: str) -> Response:
        """Give one data source; 304 if `If-None-Match` names its version."""
        data_source = find_data_source(self)
        check_parameters(request)
        if is_known(request, data_source.etag):
            return Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": data_source.etag})
        return data_source_response(data_source, "Data source retrieved successfully")

    @describe(**openapi.UPDATE)
    def partial_update(self, request: Request, data_source_id: str) -> HttpResponse:
        """Change the given fields of a data source, and only those (editor, admin, owner)."""
        # Any other value is refused when the request is read.
        if request.query_params.get("verify") != "true":
            return self.update(request)
        self.receive_body()
        keyed = IdempotentRequest.of(self)
        if keyed is not None and (answer := keyed.kept_answer()):
            return answer
        with waiting_place() as has_place:
            verification = self.start_verification(request, has_place, keyed)
            verification.wait()
        return self.update(request, verification)

    @retried
    @transaction.atomic
    def start_verification(
        self, request: Request, has_place: bool, keyed: IdempotentRequest | None
    ) -> Verification:
        """Ask for a test of what the update would make of the data source."""
        data_source = find_locked(self, Role.EDITOR)
        changes = self.read_changes(request, data_source)
        if not has_place:
            raise Throttled(wait=1, detail="Too many updates wait for their tests just now.")
        return Verification.start(data_source, changes, caller(request), keyed)

    @retried
    @transaction.atomic
    @idempotent
    def update(self, request: Request, verification: Verification | None = None) -> Response:
        """Store the update, if it is (still) what was tested."""
        data_source = find_locked(self, Role.EDITOR)
        changes = self.read_changes(request, data_source)
        dry_run = read_switch(request, "dry_run")
        etag = data_source.etag
        differences = data_source.apply_changes(changes, **recorded(request), dry_run=dry_run)
        if dry_run:
            data = DataSourceSerializer(data_source).data
            message = "The update is valid; nothing was stored"
            return SuccessResponse(data, message, changes=differences, headers={"ETag": etag})
        if verification is not None:
            verification.record(data_source)
        return data_source_response(data_source, "Data source updated successfully")

    def read_changes(self, request: Request, data_source: DataSource) -> dict[str, Any]:
        """Give the valid changes that the body asks for. Raises 400, 412, 415 or 428."""
        data = read_body(request, parameters=["dry_run", "verify"])
        for switch in ("dry_run", "verify"):
            read_switch(request, switch)
        is_current = is_version_meant(request, data_source)
        serializer = DataSourceUpdateSerializer(
            data_source,
            data=data,
            partial=True,
            context={"is_merge_patch": is_merge_patch(request), "will_be_stored": is_current},
        )
        serializer.is_valid(raise_exception=True)
        check_precondition(request, data_source)
        changes: dict[str, Any] = serializer.validated_data
        return changes

    @describe(**openapi.DESTROY)
    @retried
    @transaction.atomic
    def destroy(self, request: Request, data_source_id: str) -> Response:
        """Delete a data source and its history (admin, owner)."""
        data_source = find_locked(self, Role.ADMIN)
        read_no_body(request)
        check_precondition(request, data_source)
        data_source.delete()
        return Response(status=HTTPStatus.NO_CONTENT)


class HistoryViewSet(ScopedViewSet):
    """The changes of a data source."""

    queryset = DataSourceRevision.objects.none()  # names the model to openapi.json
    http_method_names = ["get", "head", "post"]
    serializer_class = DataSourceRevisionSerializer
    ordering = "-version"

    @describe(**openapi.HISTORY)
    def list(self, request: Request, data_source_id: str) -> Response:
        """List the changes of a data source, newest first."""
        return read_about(
            find_data_source(self),
            lambda found: self.list_page(
                request, "History retrieved successfully", found.revisions.all()
            ),
        )

    @describe(**openapi.RESTORE)
    @retried
    @transaction.atomic
    @idempotent
    def restore(self, request: Request, data_source_id: str, version: str) -> Response:
        """Bring all fields back to what they were at a version (admin, owner); a new version."""
        data_source = find_locked(self, Role.VIEWER)
        if not data_source.has_version(number := read_id(version)):
            raise NotFound("The data source has no such version.")
        require_role(data_source.role, Role.ADMIN)
        read_no_body(request)
        check_precondition(request, data_source)
        try:
            data_source.restore(
                number, user=caller(request), request_id=request_id.get(), is_locked=True
            )
        except ModelValidationError as error:
            raise Conflict(f"This version cannot be restored: {' '.join(error.messages)}") from None
        return data_source_response(data_source, "Data source restored successfully")


def data_source_response(
    data_source: DataSource, message: str, status: int = HTTPStatus.OK
) -> SuccessResponse:
    """Answer with one data source and its entity tag."""
    data = DataSourceSerializer(data_source).data
    return SuccessResponse(data, message, status, headers={"ETag": data_source.etag})
