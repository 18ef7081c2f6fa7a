"""The endpoints of credentials: secrets are stored, cleared and confirmed, but never shown."""

from http import HTTPStatus

from rest_framework.request import Request
from rest_framework.response import Response

from datasources.connections.connectors.base import CREDENTIAL_FIELDS
from datasources.credentials import openapi
from datasources.credentials.serializers import CredentialsSerializer, CredentialsUpdateSerializer
from datasources.models import DataSource
from datasources.viewsets import DataSourceScopedViewSet, check_if_match
from organizations.models import Role
from organizations.writing import write
from rivergen.http.input import check_parameters, entity_tag, read_body, read_no_body
from rivergen.http.openapi import describe
from rivergen.http.responses import SuccessResponse

ALL_CLEARED: dict[str, str | None] = dict.fromkeys(CREDENTIAL_FIELDS)


class CredentialsViewSet(DataSourceScopedViewSet):
    """The credentials of a data source. They share its version and its history."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    serializer_class = CredentialsSerializer

    @describe(**openapi.RETRIEVE)
    def retrieve(self, request: Request, data_source_id: str) -> Response:
        """Return which secrets are set, by whom and when, but never their values."""
        data_source = self.get_data_source()
        check_parameters(request)
        return credentials_response(data_source, "Credentials retrieved successfully")

    @write(**openapi.REPLACE)
    def update(self, request: Request, data_source_id: str) -> Response:
        """Store the given credentials, and clear all others (editor, admin, owner)."""
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        credentials = read_credentials(request, data_source)
        data_source.set_credentials(ALL_CLEARED | credentials, user=self.author, is_locked=True)
        return credentials_response(data_source, "Credentials replaced successfully")

    @write(**openapi.UPDATE)
    def partial_update(self, request: Request, data_source_id: str) -> Response:
        """Store the given credentials, and only those. Null clears one (editor, admin, owner)."""
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        credentials = read_credentials(request, data_source)
        data_source.set_credentials(credentials, user=self.author, is_locked=True)
        return credentials_response(data_source, "Credentials updated successfully")

    @write(**openapi.CLEAR)
    def destroy(self, request: Request, data_source_id: str) -> Response:
        """Clear all credentials (editor, admin, owner)."""
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        read_no_body(request)
        check_if_match(request, data_source)
        data_source.set_credentials(ALL_CLEARED, user=self.author, is_locked=True)
        etag = entity_tag(data_source.version)
        return Response(status=HTTPStatus.NO_CONTENT, headers={"ETag": etag})

    @write(**openapi.CONFIRM)
    def confirm(self, request: Request, data_source_id: str) -> Response:
        """Confirm all unconfirmed secrets for the destination of one version (admin, owner).

        `If-Match` names the version: without it, a destination that the caller has not seen could
        be confirmed.
        """
        data_source = self.get_data_source(Role.ADMIN, lock=True)
        read_no_body(request)
        check_if_match(request, data_source, is_required=True)
        data_source.confirm_credentials(user=self.author, is_locked=True)
        return credentials_response(data_source, "Credentials confirmed successfully")


def read_credentials(request: Request, data_source: DataSource) -> dict[str, str | None]:
    """Return the valid credentials in the body. Raises 400, 412, 413, 415 or 428."""
    serializer = CredentialsUpdateSerializer(data_source, data=read_body(request), partial=True)
    serializer.is_valid(raise_exception=True)
    check_if_match(request, data_source)
    credentials: dict[str, str | None] = serializer.validated_data
    return credentials


def credentials_response(data_source: DataSource, message: str) -> SuccessResponse:
    """Return the response that shows the state of the credentials, with the data source's ETag."""
    data = CredentialsSerializer(data_source).data
    return SuccessResponse(data, message, version=data_source.version)
