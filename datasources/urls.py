"""The routes of data sources, below /api/v1/."""

from django.urls import path

from datasources import views
from datasources.connection_tests.views import (
    ConnectionTestViewSet,
    SourceTypeView,
    SSHHostKeyViewSet,
)
from datasources.credentials.views import CredentialsViewSet
from datasources.declarations.views import DeclarationViewSet
from datasources.schemas.views import SchemaRefreshViewSet, SchemaViewSet

urlpatterns = [
    path(
        "data-sources",
        views.DataSourceViewSet.as_view({"get": "list", "post": "create", "patch": "update_many"}),
    ),
    # Before the route of one data source, which would take "apply" and "test" for ids.
    path("data-sources/apply", DeclarationViewSet.as_view({"post": "apply"})),
    path("data-sources/test", ConnectionTestViewSet.as_view({"post": "test_draft"})),
    path(
        "data-sources/<str:data_source_id>",
        views.DataSourceViewSet.as_view(
            {"get": "retrieve", "patch": "partial_update", "delete": "destroy"}
        ),
    ),
    path(
        "data-sources/<str:data_source_id>/history",
        views.HistoryViewSet.as_view({"get": "list"}),
    ),
    path(
        "data-sources/<str:data_source_id>/history/<str:version>/restore",
        views.HistoryViewSet.as_view({"post": "restore"}),
    ),
    path(
        "data-sources/<str:data_source_id>/credentials",
        CredentialsViewSet.as_view(
            {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
        ),
    ),
    path(
        "data-sources/<str:data_source_id>/credentials/confirm",
        CredentialsViewSet.as_view({"post": "confirm"}),
    ),
    path(
        "data-sources/<str:data_source_id>/test",
        ConnectionTestViewSet.as_view({"post": "test"}),
    ),
    path("connection-tests/<str:test_id>", ConnectionTestViewSet.as_view({"get": "retrieve"})),
    path(
        "data-sources/<str:data_source_id>/ssh-host-key/confirm",
        SSHHostKeyViewSet.as_view({"post": "confirm"}),
    ),
    path(
        "data-sources/<str:data_source_id>/schema/refresh",
        SchemaRefreshViewSet.as_view({"get": "retrieve", "post": "refresh"}),
    ),
    path("data-sources/<str:data_source_id>/schema", SchemaViewSet.as_view({"get": "retrieve"})),
    path(
        "data-sources/<str:data_source_id>/schema/snapshots",
        SchemaViewSet.as_view({"get": "list"}),
    ),
    path(
        "data-sources/<str:data_source_id>/schema/changes",
        SchemaViewSet.as_view({"get": "changes"}),
    ),
    path("data-source-types", SourceTypeView.as_view()),
]
