"""The endpoints of connection tests, SSH host keys and the types of data sources."""

from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from datasources.connection_tests import openapi
from datasources.connection_tests.many import IDS, ManyTests, read_ids
from datasources.connection_tests.models import ConnectionTest
from datasources.connection_tests.serializers import (
    ConnectionTestSerializer,
    DataSourceTypeInfoSerializer,
)
from datasources.connection_tests.starting import (
    read_draft,
    read_fingerprint,
    read_test,
    start_test,
)
from datasources.connection_tests.waiting import WAIT_MAX_SECONDS, wait_for, waiting_place
from datasources.connections.connectors import CONNECTORS
from datasources.viewsets import (
    DataSourceScopedViewSet,
    check_if_match,
    data_source_response,
)
from organizations.models import Role
from organizations.permissions import require_membership
from organizations.writing import receive_body, write
from rivergen.http.exceptions import NoSuchResource
from rivergen.http.input import check_parameters, read_no_body, read_seconds
from rivergen.http.openapi.describing import describe
from rivergen.http.openapi.schema import IDEMPOTENCY_REPLAYED
from rivergen.http.pagination import page_links
from rivergen.http.responses import SuccessResponse


class ConnectionTestViewSet(DataSourceScopedViewSet):
    """Connection tests. A worker runs them."""

    http_method_names = ["get", "head", "post"]
    serializer_class = ConnectionTestSerializer

    @describe(**openapi.TEST)
    def test(self, request: Request, data_source_id: str) -> HttpResponse:
        """Test a data source as it is stored (editor, admin, owner)."""
        receive_body(request)
        return with_result(request, self.start(request))

    @write()
    def start(self, request: Request) -> Response:
        """Start the test of a stored data source."""
        # Locked: otherwise the source might be gone when the test that refers to it is stored.
        data_source = self.get_data_source(Role.EDITOR, lock=True)
        read_no_body(request, parameters=["wait"])
        read_seconds(request, "wait", WAIT_MAX_SECONDS)
        configuration = data_source.configuration()
        test = start_test(data_source, configuration, is_stored=True, user=self.caller)
        return started_response(test)

    @describe(**openapi.TEST_DRAFT)
    def test_draft(self, request: Request) -> HttpResponse:
        """Test a configuration that is not stored, or many data sources (editor, admin, owner)."""
        receive_body(request)
        return with_result(request, self.start_draft(request))

    @write()
    def start_draft(self, request: Request) -> Response:
        """Start the test of the configuration in the body, or of the data sources it names."""
        body = read_test(request)
        if IDS in body:
            return self.start_many(request, body)
        data_source, configuration = read_draft(request, body)
        read_seconds(request, "wait", WAIT_MAX_SECONDS)
        self.organization_id = data_source.workspace.organization_id
        test = start_test(data_source, configuration, is_stored=False, user=self.caller)
        return started_response(test)

    def start_many(self, request: Request, body: dict[str, Any]) -> Response:
        """Start a test of each data source that the body names."""
        many = ManyTests(self.caller, read_ids(self.caller, request, body))
        if not many.finds_all:
            require_membership(self.caller)
        results = many.start()
        self.found_in(many.organization_ids)
        started = sum("data" in result for result in results)
        text = f"{started} of {len(results)} connection tests are in progress"
        return SuccessResponse(results, text, HTTPStatus.ACCEPTED)

    @describe(**openapi.RESULT)
    def retrieve(self, request: Request, test_id: str) -> Response:
        """Return the state of a test, and its result once it has finished; kept for a day."""
        tests = ConnectionTest.objects.for_user(self.caller)
        uuid = read_uuid(test_id)
        test = None if uuid is None else tests.filter(pk=uuid).first()
        if test is None:
            require_membership(self.caller)
            raise NoSuchResource
        check_parameters(request)
        return SuccessResponse(self.get_serializer(test.result()).data, message(test))


class SSHHostKeyViewSet(DataSourceScopedViewSet):
    """The host key of the SSH server of a data source."""

    http_method_names = ["post"]

    @write(**openapi.CONFIRM_HOST_KEY)
    def confirm(self, request: Request, data_source_id: str) -> Response:
        """Trust the host key with this fingerprint, if the last test met it (admin, owner)."""
        data_source = self.get_data_source(Role.ADMIN, lock=True)
        fingerprint = read_fingerprint(request)
        check_if_match(request, data_source)
        changes = data_source.confirm_ssh_host_key(fingerprint, user=self.author, is_locked=True)
        message = "SSH host key confirmed successfully"
        return data_source_response(data_source, message, changes=changes)


class SourceTypeView(APIView):
    """The catalogue of data source types."""

    http_method_names = ["get", "head"]

    @describe(**openapi.TYPES)
    def get(self, request: Request) -> Response:
        """List the types, the fields they need, and whether their driver is installed."""
        check_parameters(request)
        data = DataSourceTypeInfoSerializer(CONNECTORS.values(), many=True).data
        return SuccessResponse(
            data,
            "Data source types retrieved successfully",
            pagination=page_links(request.build_absolute_uri(), len(data)),
        )


def read_uuid(text: str) -> UUID | None:
    """Return the id of a test, or None if the text is not a UUID in its usual form."""
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid if str(uuid) == text else None


def started_response(test: ConnectionTest) -> SuccessResponse:
    """Return the response (202) to the start of a test, with the URL of its result."""
    data = ConnectionTestSerializer(test.result()).data
    headers = {"Location": f"/api/v1/connection-tests/{test.pk}"}
    return SuccessResponse(data, message(test), HTTPStatus.ACCEPTED, headers)


def with_result(request: Request, started: HttpResponse) -> HttpResponse:
    """Return the result of a started test if it finishes within `?wait=` seconds, else `started`.

    If no waiting place is free, it does not wait. Raises NotFound (404) if the test is deleted
    while it waits.
    """
    seconds = read_seconds(request, "wait", WAIT_MAX_SECONDS)
    if not seconds:
        return started
    test = ConnectionTest.objects.filter(pk=started["Location"].rpartition("/")[2]).first()
    if test is None:
        raise NotFound("The data source was deleted during this request.")
    with waiting_place() as has_place:
        if has_place:
            wait_for(test, seconds)
    if test.finished_at is None:
        return started
    is_replayed = {name: started[name] for name in (IDEMPOTENCY_REPLAYED,) if name in started}
    data = ConnectionTestSerializer(test.result()).data
    return SuccessResponse(data, message(test), headers=is_replayed)


def message(test: ConnectionTest) -> str:
    """Return the message of a response about a test."""
    if test.finished_at is None:
        return "The connection test is in progress"
    return "The connection test has finished"
