"""The schema endpoints: refreshes, snapshots and changes."""

from functools import partial
from http import HTTPStatus
from itertools import islice

from rest_framework.request import Request
from rest_framework.response import Response

from datasources.models import DataSource
from datasources.replicas import read_via_replica
from datasources.schemas import openapi
from datasources.schemas.exceptions import SchemaNotRead
from datasources.schemas.lookups import (
    find_pair,
    find_snapshot,
    read_table_name,
    read_words,
)
from datasources.schemas.models import SchemaRefresh
from datasources.schemas.serializers import SchemaRefreshSerializer, SchemaSnapshotSerializer
from datasources.schemas.snapshots.models import SchemaSnapshot
from datasources.schemas.snapshots.pages import Page
from datasources.schemas.snapshots.summary import Summary
from datasources.schemas.starting import start_refresh
from datasources.viewsets import DataSourceScopedViewSet
from organizations.models import Role
from organizations.writing import write
from rivergen.http.input import check_parameters, is_known, read_no_body
from rivergen.http.openapi.describing import describe
from rivergen.http.responses import SuccessResponse


class SchemaRefreshViewSet(DataSourceScopedViewSet):
    """Schema refreshes: requested here, run by a worker."""

    http_method_names = ["get", "head", "post"]
    serializer_class = SchemaRefreshSerializer

    @write(**openapi.REFRESH)
    def refresh(self, request: Request, data_source_id: str) -> Response:
        """Start a refresh of the schema, or return the running one (editor, admin, owner)."""
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        read_no_body(request)
        data = self.get_serializer(start_refresh(data_source, self.caller)).data
        headers = {"Location": f"/api/v1/data-sources/{data_source.pk}/schema/refresh"}
        message = "The schema is being refreshed"
        return SuccessResponse(data, message, HTTPStatus.ACCEPTED, headers)

    @describe(**openapi.RETRIEVE_REFRESH)
    def retrieve(self, request: Request, data_source_id: str) -> Response:
        """Return the last refresh, running or finished."""
        data_source = self.get_data_source()
        check_parameters(request)
        refresh = SchemaRefresh.objects.filter(data_source=data_source).first()
        if refresh is None:
            raise SchemaNotRead
        message = "The last refresh was retrieved successfully"
        return SuccessResponse(self.get_serializer(refresh).data, message)


class SchemaViewSet(DataSourceScopedViewSet):
    """Snapshots of the schema of a data source, and the changes between them."""

    queryset = SchemaSnapshot.objects.none()  # names the model to openapi.json
    http_method_names = ["get", "head"]
    serializer_class = SchemaSnapshotSerializer
    ordering = "-number"

    @describe(**openapi.SNAPSHOTS)
    def list(self, request: Request, data_source_id: str) -> Response:
        """List the snapshots of the schema, newest first."""
        return read_via_replica(
            self.get_data_source(),
            lambda found: self.list_page(
                request, "Snapshots retrieved successfully", found.schema_snapshots.summaries()
            ),
        )

    @describe(**openapi.RETRIEVE)
    def retrieve(self, request: Request, data_source_id: str) -> Response:
        """Return a page of tables of a snapshot; 304 if `If-None-Match` names its `ETag`."""
        return read_via_replica(self.get_data_source(), partial(self.tables_of, request))

    def tables_of(self, request: Request, data_source: DataSource) -> Response:
        """Return the page of tables, read from the database that `data_source` was read from."""
        page = Page(request, ("snapshot",), ("table", "search"))
        name, words = read_table_name(request), read_words(request)
        snapshot = find_snapshot(data_source, page.numbers.get("snapshot"))
        headers = {"ETag": snapshot.etag}
        if is_known(request, snapshot.etag):
            return Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        tables = page.take(snapshot.tables(named=name, words=words, start=page.offset))
        return SuccessResponse(
            # Skip the serializer: the tables are JSON values already, and it would double the time.
            {
                **self.get_serializer(snapshot).data,
                "schemas": snapshot.content.schemas(),
                "tables": tables,
            },
            "Schema retrieved successfully",
            headers=headers,
            pagination=page.pagination(snapshot=snapshot.number),
        )

    @describe(**openapi.CHANGES)
    def changes(self, request: Request, data_source_id: str) -> Response:
        """List what changed from one snapshot to another, page by page."""
        return read_via_replica(self.get_data_source(), partial(self.changes_of, request))

    def changes_of(self, request: Request, data_source: DataSource) -> Response:
        """Return the page of changes, read from the database that `data_source` was read from."""
        page = Page(request, ("from", "to"))
        before, to = find_pair(data_source, page.numbers)
        summary = Summary(to.changes_since(before) if before else ())
        changes = page.take(islice(summary, page.offset, None))
        ends = {"from": before.number if before else None, "to": to.number}
        return SuccessResponse(
            {
                "from": before and self.get_serializer(before).data,
                "to": self.get_serializer(to).data,
                "summary": summary.complete(),
                "changes": changes,
            },
            "Schema changes retrieved successfully",
            pagination=page.pagination(**ends),
        )
