"""The credentials of a data source over HTTP: entered, cleared, confirmed, never shown."""

from http import HTTPStatus

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from datasources.connections.connectors.base import CREDENTIAL_FIELDS
from datasources.credentials import openapi
from datasources.credentials.serializers import CredentialsSerializer, CredentialsUpdateSerializer
from datasources.models import DataSource
from datasources.viewsets import check_precondition, find_data_source, find_locked, recorded
from organizations.idempotency.requests import idempotent
from organizations.models import Role
from organizations.viewsets import ScopedViewSet
from rivergen.http.input import check_parameters, read_body, read_no_body
from rivergen.http.openapi import describe
from rivergen.http.responses import SuccessResponse
from rivergen.postgresql.retries import retried

ALL_CLEARED: dict[str, str | None] = dict.fromkeys(CREDENTIAL_FIELDS)


class CredentialsViewSet(ScopedViewSet):
    """The credentials of one data source, which share its version and its history."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    serializer_class = CredentialsSerializer

    @describe(**openapi.RETRIEVE)
    def retrieve(self, request: Request, data_source_id: str) -> Response:
        """Tell which secrets are set, by whom and when; never a value."""
        data_source = find_data_source(self)
        check_parameters(request)
        return credentials_response(data_source, "Credentials retrieved successfully")

    @describe(**openapi.REPLACE)
    @retried
    @transaction.atomic
    def update(self, request: Request, data_source_id: str) -> Response:
        """Enter the given credentials, and clear all others (editor, admin, owner)."""
        data_source = find_locked(self, Role.EDITOR)
        credentials = read_credentials(request, data_source)
        data_source.set_credentials(ALL_CLEARED | credentials, **recorded(request))
        return credentials_response(data_source, "Credentials replaced successfully")

    @describe(**openapi.UPDATE)
    @retried
    @transaction.atomic
    @idempotent
    def partial_update(self, request: Request, data_source_id: str) -> Response:
        """Enter the given credentials, and only those; null clears one (editor, admin, owner)."""
        data_source = find_locked(self, Role.EDITOR)
        credentials = read_credentials(request, data_source)
        data_source.set_credentials(credentials, **recorded(request))
        return credentials_response(data_source, "Credentials updated successfully")

    @describe(**openapi.CLEAR)
    @retried
    @transaction.atomic
    def destroy(self, request: Request, data_source_id: str) -> Response:
        """Clear all credentials (editor, admin, owner)."""
        data_source = find_locked(self, Role.EDITOR)
        read_no_body(request)
        check_precondition(request, data_source)
        data_source.set_credentials(ALL_CLEARED, **recorded(request))
        return Response(status=HTTPStatus.NO_CONTENT, headers={"ETag": data_source.etag})

    @describe(**openapi.CONFIRM)
    @retried
    @transaction.atomic
    @idempotent
    def confirm(self, request: Request, data_source_id: str) -> Response:
        """Let all secrets be sent to the destination as it is now (admin, owner)."""
        data_source = find_locked(self, Role.ADMIN)
        read_no_body(request)
        check_precondition(request, data_source)
        data_source.confirm_credentials(**recorded(request))
        return credentials_response(data_source, "Credentials confirmed successfully")


def read_credentials(request: Request, data_source: DataSource) -> dict[str, str | None]:
    """Give the valid credentials that the body names. Raises 400, 412, 415 or 428."""
    serializer = CredentialsUpdateSerializer(data_source, data=read_body(request), partial=True)
    serializer.is_valid(raise_exception=True)
    check_precondition(request, data_source)
    credentials: dict[str, str | None] = serializer.validated_data
    return credentials


def credentials_response(data_source: DataSource, message: str) -> SuccessResponse:
    """Answer with what may be seen of the credentials, and the entity tag of the data source."""
    data = CredentialsSerializer(data_source).data
    return SuccessResponse(data, message, headers={"ETag": data_source.etag})
