"""The endpoints of credentials: secrets are stored, cleared and confirmed, but never shown."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

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
from rivergen.http.openapi.describing import describe
from rivergen.http.responses import SuccessResponse

ALL_CLEARED: dict[str, None] = dict.fromkeys(CREDENTIAL_FIELDS)
NONE_CLEARED: dict[str, None] = {}


class CredentialsViewSet(DataSourceScopedViewSet):
    """The credentials of a data source. They share its version and its history."""

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    serializer_class = CredentialsSerializer

    @describe(**openapi.RETRIEVE)
    def retrieve(self, request: Request, data_source_id: str) -> Response:
        """Return which secrets are set, by whom and when, but never their values."""
        data_source = self.get_data_source()
        check_parameters(request, knows_versions=True)
        check_if_match(request, data_source, is_required=False)
        return credentials_response(data_source, "Credentials retrieved successfully")

    @write(**openapi.REPLACE)
    def update(self, request: Request, data_source_id: str) -> Response:
        """Store the given credentials, and clear all others (editor, admin, owner)."""
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        credentials = ALL_CLEARED | read_credentials(request, data_source, ALL_CLEARED)
        changes = data_source.set_credentials(credentials, user=self.author, is_locked=True)
        message = "Credentials replaced successfully"
        return credentials_response(data_source, message, changes=changes)

    @write(**openapi.UPDATE)
    def partial_update(self, request: Request, data_source_id: str) -> Response:
        """Store the given credentials, and only those. Null clears one (editor, admin, owner)."""
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        credentials = read_credentials(request, data_source)
        changes = data_source.set_credentials(credentials, user=self.author, is_locked=True)
        message = "Credentials updated successfully"
        return credentials_response(data_source, message, changes=changes)

    @write(**openapi.CLEAR)
    def destroy(self, request: Request, data_source_id: str) -> Response:
        """Clear all credentials (editor, admin, owner)."""
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        read_no_body(request, knows_versions=True)
        check_if_match(request, data_source, ALL_CLEARED)
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
        read_no_body(request, knows_versions=True)
        check_if_match(request, data_source, is_required=True)
        changes = data_source.confirm_credentials(user=self.author, is_locked=True)
        message = "Credentials confirmed successfully"
        return credentials_response(data_source, message, changes=changes)


def read_credentials(
    request: Request, data_source: DataSource, cleared: Mapping[str, None] = NONE_CLEARED
) -> dict[str, str | None]:
    """Return the valid credentials in the body. Raises 400, 412, 413, 415 or 428.

    `cleared` are credentials that the request clears, unless they are in the body.
    """
    body = read_body(request, knows_versions=True)
    serializer = CredentialsUpdateSerializer(
        data_source, data=body, partial=True, context={"cleared": cleared}
    )
    serializer.is_valid(raise_exception=True)
    credentials: dict[str, str | None] = serializer.validated_data
    check_if_match(request, data_source, [*{**credentials, **cleared}])
    return credentials


def credentials_response(data_source: DataSource, message: str, **members: Any) -> SuccessResponse:
    """Return the response that shows the state of the credentials, with the data source's ETag.

    `members` are further members of the body.
    """
    data = CredentialsSerializer(data_source).data
    return SuccessResponse(data, message, version=data_source.version, **members)
