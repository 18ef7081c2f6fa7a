"""The endpoints of data sources and of their history."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.exceptions import NotFound, Throttled
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ModelViewSet

from datasources import openapi
from datasources.bulk.views import UpdateManyMixin
from datasources.connection_tests.verification import Verification
from datasources.connection_tests.waiting import waiting_place
from datasources.credentials.serializers import NewDataSourceSerializer
from datasources.filters import DataSourceFilter
from datasources.models import DataSource, DataSourceRevision
from datasources.replicas import list_via_replica, read_via_replica
from datasources.serializers import (
    DataSourceRevisionSerializer,
    DataSourceSerializer,
    DataSourceUpdateSerializer,
    valid_changes,
)
from datasources.viewsets import (
    DataSourceScopedViewSet,
    check_if_match,
    creating_roles,
    data_source_response,
)
from organizations.idempotency.keyed_request import KeyedRequest
from organizations.models import Role
from organizations.permissions import require_role
from organizations.writing import receive_body, retried, write
from rivergen.http.input import (
    check_parameters,
    entity_tag,
    is_known,
    is_merge_patch,
    read_body,
    read_id,
    read_no_body,
)
from rivergen.http.openapi.describing import describe
from rivergen.http.preconditions import ALLOW_DISJOINT, IF_MATCH
from rivergen.http.responses import SuccessResponse

UPDATED = "Data source updated successfully"
RESTORED = "Data source restored successfully"


class DataSourceViewSet(UpdateManyMixin, ModelViewSet):
    """Data sources of the organizations that the caller belongs to."""

    queryset = DataSource.objects.all()
    http_method_names = ["get", "head", "post", "patch", "delete"]
    lookup_url_kwarg = "data_source_id"
    filterset_class = DataSourceFilter
    repeatable_parameters = ("id", "type", "status", "tag")
    ordering = "name"
    ordering_fields = ("name", "created_at", "updated_at")

    def get_queryset(self) -> QuerySet[DataSource]:
        return DataSource.objects.for_user(self.caller)

    def get_object(self) -> DataSource:
        return self.get_data_source()

    def get_serializer_class(self) -> type[BaseSerializer]:
        by_action = {
            "create": NewDataSourceSerializer,
            "partial_update": DataSourceUpdateSerializer,
        }
        return by_action.get(self.action, DataSourceSerializer)

    @describe(**openapi.LIST)
    def list(self, request: Request) -> Response:
        """List the data sources of the caller's organizations, page by page."""
        message = "Data sources retrieved successfully"
        return list_via_replica(
            self.caller, lambda data_sources: self.list_page(request, message, data_sources)
        )

    @write(request=NewDataSourceSerializer, **openapi.CREATE)
    def create(self, request: Request) -> Response:
        """Create a data source (editor, admin, owner)."""
        roles = creating_roles(self.caller)
        serializer = self.get_serializer(data=read_body(request), context={"roles": roles})
        serializer.is_valid(raise_exception=True)
        user, values = self.caller, serializer.validated_data
        credentials = values.pop("credentials")
        data_source = DataSource(**values, created_by=user, updated_by=user)
        self.organization_id = data_source.workspace.organization_id
        require_role(roles[self.organization_id], Role.EDITOR)
        data_source.save(author=self.author, credentials=credentials)
        headers = {"Location": f"/api/v1/data-sources/{data_source.pk}"}
        message = "Data source created successfully"
        return data_source_response(data_source, message, HTTPStatus.CREATED, headers)

    @describe(**openapi.RETRIEVE)
    def retrieve(self, request: Request, data_source_id: str) -> Response:
        """Return one data source; 304 if it has always read like this under the known `ETag`."""
        data_source = self.get_object()
        check_parameters(request, knows_versions=True)
        check_if_match(request, data_source, is_required=False)
        etag = entity_tag(data_source.version)
        if not data_source.has_changed_within_version and is_known(request, etag):
            return Response(status=HTTPStatus.NOT_MODIFIED, headers={"ETag": etag})
        return data_source_response(data_source, "Data source retrieved successfully")

    @describe(**openapi.UPDATE)
    def partial_update(self, request: Request, data_source_id: str) -> HttpResponse:
        """Change the given fields of a data source, and only those (editor, admin, owner)."""
        # Values other than true and false are refused later, when the body is read.
        if request.query_params.get("verify") != "true":
            return self.store_update(request)
        receive_body(request)
        keyed = KeyedRequest.of(self)
        if keyed is not None and (answer := keyed.stored_answer()):
            return answer
        with waiting_place() as has_place:
            verification = self.start_verification(request, has_place, keyed)
            verification.wait()
        return self.store_update(request, verification)

    @write()
    def store_update(self, request: Request, verification: Verification | None = None) -> Response:
        """Store an update; with a verification, only if its settings are those that were tested."""
        data_source, values = self.read_update(request)
        version = data_source.version
        dry_run = request.query_params.get("dry_run") == "true"
        changes = data_source.apply_changes(
            values, user=self.author, is_locked=True, is_validated=True, dry_run=dry_run
        )
        if dry_run:
            data = DataSourceSerializer(data_source).data
            message = "The update is valid; nothing was stored"
            is_repeatable = verification is None
            return SuccessResponse(
                data, message, version=version, changed_nothing=is_repeatable, changes=changes
            )
        if verification is not None:
            verification.record(data_source)
        data, version = DataSourceSerializer(data_source).data, data_source.version
        return SuccessResponse(
            data, UPDATED, version=version, changed_nothing=not changes, changes=changes
        )

    def answer_again(self, perform: Callable[[], Response] | None) -> Response:
        """Return the data source as it is now; a dry run is repeated, also of many."""
        if perform is not None and self.request.query_params.get("dry_run") == "true":
            return perform()
        return data_source_response(self.get_object(), UPDATED, changes={})

    @retried
    @transaction.atomic
    def start_verification(
        self, request: Request, has_place: bool, keyed: KeyedRequest | None
    ) -> Verification:
        """Start a connection test with the settings that the update would lead to."""
        data_source, values = self.read_update(request)
        if keyed is not None:
            keyed.require_room()
        if not has_place:
            raise Throttled(wait=1, detail="Too many updates are waiting for their tests.")
        return Verification.start(data_source, values, self.caller, keyed)

    def read_update(self, request: Request) -> tuple[DataSource, dict[str, Any]]:
        """Return the data source, locked, and the valid changes in the body.

        Raises, in this order: 401, 403 or 404; 415 or 413; what `valid_changes` raises.
        """
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        is_merge = is_merge_patch(request)
        switches = (ALLOW_DISJOINT, "dry_run", "verify")
        body = read_body(request, switches=switches, knows_versions=True)
        values = valid_changes(
            data_source,
            body,
            if_match=request.META.get(IF_MATCH),
            is_merge_patch=is_merge,
            allows_disjoint=request.query_params.get(ALLOW_DISJOINT) == "true",
        )
        return data_source, values

    @write(**openapi.DESTROY)
    def destroy(self, request: Request, data_source_id: str) -> Response:
        """Delete a data source and its history (admin, owner)."""
        data_source = self.get_data_source(Role.ADMIN, lock=True)
        read_no_body(request, knows_versions=True)
        check_if_match(request, data_source)
        data_source.delete()
        return Response(status=HTTPStatus.NO_CONTENT)


class HistoryViewSet(DataSourceScopedViewSet):
    """The changes of a data source."""

    queryset = DataSourceRevision.objects.all()
    http_method_names = ["get", "head", "post"]
    serializer_class = DataSourceRevisionSerializer
    ordering = "-version"

    @describe(**openapi.HISTORY)
    def list(self, request: Request, data_source_id: str) -> Response:
        """List the changes of a data source, newest first."""
        message = "History retrieved successfully"
        return read_via_replica(
            self.get_data_source(),
            lambda data_source: self.list_page(request, message, data_source.revisions.all()),
        )

    @write(**openapi.RESTORE)
    def restore(self, request: Request, data_source_id: str, version: str) -> Response:
        """Restore the fields of an earlier version, as a new version (admin, owner)."""
        data_source = self.get_data_source(lock=True)
        if not data_source.has_version(number := read_id(version)):
            raise NotFound("The data source has no such version.")
        require_role(data_source.role, Role.ADMIN)
        read_no_body(request, knows_versions=True)
        check_if_match(request, data_source)
        changes = data_source.restore(number, user=self.author, is_locked=True)
        return data_source_response(
            data_source, RESTORED, changed_nothing=not changes, changes=changes
        )

    def answer_again(self, perform: Callable[[], Response] | None) -> Response:
        """Return the data source as it is now."""
        return data_source_response(self.get_data_source(), RESTORED, changes={})
