"""Descriptions of the connection test endpoints for openapi.json."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, PolymorphicProxySerializer

from datasources.connection_tests.serializers import (
    ConnectionTestSerializer,
    DataSourceTypeInfoSerializer,
    DraftSerializer,
    HostKeyConfirmationSerializer,
    TestStartResultSerializer,
)
from datasources.connection_tests.waiting import WAIT_MAX_SECONDS
from datasources.connections.connectors import CONNECTORS
from datasources.connections.failures import Code, message_of
from datasources.connections.ssh.host_keys import fingerprint
from datasources.examples import STALE, TEST_ID, UNCONFIRMED, data_source
from datasources.models.exceptions import NoHostKey
from datasources.openapi import IF_MATCH
from datasources.serializers import DataSourceSerializer
from rivergen.http.openapi.examples import answer, body, failure
from rivergen.http.pagination import page_links

FINISHED: dict[str, Any] = {
    "test_id": TEST_ID,
    "data_source_id": 1,
    "version": 1,
    "requested_at": "2024-12-01T11:00:00.303209Z",
    "finished_at": "2024-12-01T11:00:00.749491Z",
    "ok": True,
    "code": Code.OK,
    "message": Code.OK.label,
    "details": {},
    "stages": [
        {"stage": "policy", "ok": True, "milliseconds": 0.3},
        {"stage": "dns", "ok": True, "milliseconds": 2.1},
        {"stage": "tcp", "ok": True, "milliseconds": 1.7},
        {"stage": "tls", "ok": True, "milliseconds": 4.2},
        {"stage": "login", "ok": True, "milliseconds": 8.4},
        {"stage": "query", "ok": True, "milliseconds": 0.9},
    ],
    "server_version": "18.1",
    "ssh_host_key": None,
    "warnings": [],
}
REFUSED = FINISHED | {
    "ok": False,
    "code": Code.TCP_REFUSED,
    "message": Code.TCP_REFUSED.label,
    "stages": [*FINISHED["stages"][:2], {"stage": "tcp", "ok": False, "milliseconds": 701.9}],
    "server_version": None,
}
UNSET: dict[str, Any] = REFUSED | {
    "code": Code.FIELDS_MISSING,
    "message": message_of(Code.FIELDS_MISSING, {"fields": ["host", "database_name"]}),
    "details": {"fields": ["host", "database_name"]},
    "stages": [],
}
UNKNOWN_YET = dict.fromkeys(("finished_at", "ok", "code", "message", "server_version"))
STARTED = FINISHED | UNKNOWN_YET | {"stages": []}
DRAFT = {"data_source_id": None, "version": None}
HAS_FINISHED = "The connection test has finished"
IN_PROGRESS = "The connection test is in progress"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ6NQ0CM6yCCRKz1Yq0c6fVbS0m5h3V1oE1Yq0l1XxVb"
FINGERPRINT = fingerprint(HOST_KEY)
# As if the driver was installed, wherever this description is built.
POSTGRESQL = DataSourceTypeInfoSerializer(CONNECTORS["postgresql"]).data | {
    "driver_installed": True
}
WAIT = OpenApiParameter(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": WAIT_MAX_SECONDS},
    description="Seconds to wait for the result. If the test ends in this time, the answer is 200 "
    "with the result, else 202 without it. Default: 0.",
)
TEST: dict[str, Any] = {
    "summary": "Test a data source",
    "description": "Connect to the data source, log in and run a trivial query, as a worker's job. "
    "Needs the role editor. A test that finds a fault is a request that succeeded: see `ok` and "
    "`code`. All tests and schema refreshes of an organization share a rate limit (429).",
    "response": ConnectionTestSerializer,
    "status": 202,
    "ok": ConnectionTestSerializer,
    "errors": (401, 403, 404, 409, 413, 415),
    "headers": ("Location",),
    "parameters": (WAIT,),
    "examples": (
        answer(FINISHED, HAS_FINISHED, name="It works"),
        answer(REFUSED, HAS_FINISHED, name="It does not work"),
        answer(UNSET, HAS_FINISHED, name="Fields are not set"),
        answer(STARTED, IN_PROGRESS, status=202),
        UNCONFIRMED,
    ),
}
TEST_DRAFT: dict[str, Any] = {
    **TEST,
    "summary": "Test a configuration, or many data sources",
    "description": "Test the configuration in the body, and store nothing of it. Needs the role "
    "editor. With `based_on` it starts from a data source. Otherwise like the test of a data "
    "source, with the same rate limit.\n\nWith `ids`, and nothing else, start a test of each of up "
    "to 200 data sources. The answer is 202, without waiting, and has a result for each, in their "
    "order; each test counts in the rate limit of its organization.",
    "operation_id": "testDraft",
    "request": DraftSerializer,
    "response": PolymorphicProxySerializer(
        "StartedTests",
        [ConnectionTestSerializer, TestStartResultSerializer(many=True)],
        resource_type_field_name=None,
        many=False,
        help_text="The test of a configuration, or with `ids` what became of each test.",
    ),
    "headers": (),
    "parameters": (
        WAIT,
        OpenApiParameter(
            "Location",
            str,
            OpenApiParameter.HEADER,
            response=[202],
            description="The path of the test of a configuration.",
        ),
    ),
    "errors": (401, 403, 404, 409),
    "examples": (
        body("A CSV file", {"type": "csv", "file_path": "demo/orders.csv"}),
        body("A data source with another file", {"based_on": 2, "file_path": "demo/new.csv"}),
        body(
            "A database",
            {
                "type": "postgresql",
                "host": "db.example.com",
                "database_name": "production",
                "credentials": {"username": "reader", "password": "correct horse"},
            },
        ),
        body("Many data sources", {"ids": [1, 2]}),
        answer(FINISHED | DRAFT, HAS_FINISHED),
        answer(STARTED | DRAFT, IN_PROGRESS, status=202),
        answer(
            [
                {"id": 1, "status": 202, "data": {"test_id": TEST_ID}},
                {"id": 2, "status": 409, "error": UNCONFIRMED.value["error"]},
            ],
            "1 of 2 connection tests are in progress",
            name="Of many data sources",
            status=202,
        ),
        UNCONFIRMED,
    ),
}
RESULT: dict[str, Any] = {
    "summary": "Get a connection test",
    "description": "Return a connection test, with its result once it has ended. Results are kept "
    "for one day. Any member may ask.",
    "examples": (
        answer(FINISHED, HAS_FINISHED, name="It has ended"),
        answer(STARTED, IN_PROGRESS, name="It is running"),
    ),
    "response": ConnectionTestSerializer,
    "errors": (401, 403, 404),
}
CONFIRM_HOST_KEY: dict[str, Any] = {
    "summary": "Confirm the SSH host key",
    "description": "Trust the host key that the last connection test met, and return the data "
    "source. Needs the role admin. Compare the fingerprint with the server's own first: secrets "
    "are sent to the server that has this key.",
    "changes": True,
    "request": HostKeyConfirmationSerializer,
    "response": DataSourceSerializer,
    "errors": (401, 403, 404, 409, 412, 413, 415, 428),
    "headers": ("ETag",),
    "parameters": (IF_MATCH,),
    "examples": (
        body("The fingerprint", {"fingerprint": FINGERPRINT}),
        answer(
            data_source(
                use_ssh_tunnel=True,
                ssh_host="bastion.example.com",
                ssh_username="tunnel",
                ssh_host_key=HOST_KEY,
                version=3,
            ),
            "SSH host key confirmed successfully",
            changes={"ssh_host_key": {"from": None, "to": HOST_KEY}},
        ),
        failure("Another host key", NoHostKey(FINGERPRINT)),
        STALE,
    ),
}
TYPES: dict[str, Any] = {
    "summary": "List the types of data sources",
    "description": "Return all types of data sources: which fields and credentials each one takes, "
    "and whether this service can connect to it. Any user may ask. The list is one page.",
    "examples": (
        answer(
            [POSTGRESQL],
            "Data source types retrieved successfully",
            pagination=page_links("", 1),
        ),
    ),
    "response": DataSourceTypeInfoSerializer,
    "many": True,
    "errors": (401, 403),
}
