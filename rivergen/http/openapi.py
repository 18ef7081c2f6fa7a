"""openapi.json: drf-spectacular, extended by the response envelope and every failure."""

import copy
import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from drf_spectacular.drainage import get_override
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, is_list_serializer
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from rivergen.http import openapi_names
from rivergen.http.input import is_known
from rivergen.http.openapi_names import component_name
from rivergen.http.preconditions import refuse_preconditions
from rivergen.http.renderers import FastJSONRenderer
from rivergen.http.responses import envelope_schema
from rivergen.http.serializers import StrictFieldsMixin

FAILURES = {
    400: "Malformed HTTP or JSON, or an unknown, read-only or invalid field.",
    401: "No token, or one that is expired, revoked, forged, of another kind or no token at all; "
    "the message says which.",
    403: "The caller is a member of no organization, or the caller's role does not allow this.",
    404: "There is no such resource in the caller's organizations.",
    405: "This path does not support this method.",
    406: "The response is available as JSON only.",
    408: "The request took too long to arrive.",
    409: "The state of the resource does not allow this, the organization has as many of "
    "something as it may (`QUOTA_EXCEEDED`), or a request with this `Idempotency-Key` is still in "
    "flight.",
    412: "`If-Match`, or `version` in the body, names another version than the current one. "
    "`error.conflict` says what changed since; nothing was stored.",
    413: "The body is larger than 1 MiB.",
    415: "The type of the body is not a JSON type.",
    422: "The new settings do not connect, or another request has used this `Idempotency-Key`; "
    "nothing was stored.",
    428: "The organization or the request requires `If-Match`, and no version was named; nothing "
    "was stored.",
    429: "Too many requests.",
    500: "A bug on the server's side.",
    503: "The database is unavailable.",
}
# The failures that every route may return.
COMMON_FAILURES = (400, 405, 406, 408, 429, 500, 503)
BODY_FAILURES = (413, 415)
# The methods that are not idempotent (RFC 9110, section 9.2.2).
KEYED_METHODS = ("POST", "PATCH")
KEYED_FAILURES = (409, 422)
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_REPLAYED = "Idempotency-Replayed"
KEY_PARAMETER = {
    "in": "header",
    "name": IDEMPOTENCY_KEY,
    "schema": {"type": "string", "format": "idempotency-key"},
    "description": "1 to 255 printable ASCII characters, bare or in double quotes. A retry of the "
    "same request with the same key within 24 hours changes nothing and returns the same response, "
    "so it is safe to retry a request whose response was lost. Use a new key for each request.",
}
REPLAYED_HEADER = {
    "description": "`true`: this is the stored response to the first request with this key.",
    "schema": {"type": "string", "const": "true"},
}
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
LIMIT_HEADERS = {
    "RateLimit-Policy": {
        "description": "The limits that counted this request (draft-ietf-httpapi-ratelimit-headers)"
        ": `q` requests in `w` seconds each.",
        "schema": {"type": "string"},
        "example": '"user";q=6000;w=60, "test";q=60;w=60',
    },
    "RateLimit": {
        "description": "What is left of these limits: `r` requests in the next `t` seconds.",
        "schema": {"type": "string"},
        "example": '"user";r=5999;t=43, "test";r=59;t=43',
    },
}
HEADERS: dict[int, dict[str, str]] = {
    401: {
        "WWW-Authenticate": '`Bearer error="invalid_token", error_description="…"`, with the '
        "message of the body, if the token is not accepted; `Bearer` alone if there is none."
    },
    405: {"Allow": "The methods that this path supports."},
    412: {"ETag": "The current version."},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}


@extend_schema_field({"$ref": "#/components/schemas/ErrorCode"})
class ErrorCodeField(serializers.CharField):
    """The code of an error."""


@extend_schema_field({"type": "boolean", "const": False})
class FalseField(serializers.BooleanField):
    """Always false."""


class ErrorInfoSerializer(serializers.Serializer):
    """The error of a failure."""

    code = ErrorCodeField()
    message = serializers.CharField(help_text="One sentence for a person.")
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Sentences by field; empty if the error is not about a field.",
    )
    request_id = serializers.CharField()


class ErrorResponseSerializer(serializers.Serializer):
    """The envelope of every failure."""

    success = FalseField()
    error = ErrorInfoSerializer()


@extend_schema_field({"$ref": "#/components/schemas/VersionConflict"})
class ConflictField(serializers.DictField):
    """What changed since the version that a request named."""


class PreconditionFailedInfoSerializer(ErrorInfoSerializer):
    """The error of a 412."""

    conflict = ConflictField()


class PreconditionFailedResponseSerializer(serializers.Serializer):
    """The envelope of a 412."""

    success = FalseField()
    error = PreconditionFailedInfoSerializer()


FAILURE_SERIALIZERS = {412: PreconditionFailedResponseSerializer}
"""The envelopes of failures that have more members than others, by status."""


class Success(OpenApiResponse):
    """The description of a success; `changes`: it has `changes` beside `data`."""

    def __init__(self, response: Any, description: str, *, changes: bool = False) -> None:
        super().__init__(response, description)
        self.changes = changes


class BearerScheme(OpenApiAuthenticationExtension):
    """The security scheme: bearer tokens (RFC 6750)."""

    target_class = "organizations.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


def describe(
    summary: str,
    *,
    request: Any = None,
    response: Any = None,
    many: bool = False,
    status: int = 200,
    errors: Sequence[int] = (),
    headers: Sequence[str] = (),
    parameters: Sequence[OpenApiParameter] = (),
    examples: Sequence[OpenApiExample] = (),
    not_modified: bool = False,
    ok: bool = False,
    changes: bool = False,
    operation_id: str | None = None,
) -> Callable[[Any], Any]:
    """Describe a view method: `response` is the serializer of its `data`, `errors` its failures.

    The failures that every route may return are added. `headers` names the headers of a success,
    of `ETag` and `Location`. With `ok`, the method may return 200 instead of `status`. With
    `changes`, a success has `changes` beside `data`.
    """
    body: Any = response(many=True) if many else response
    successes: dict[int, OpenApiResponse] = {status: Success(body, "Success.", changes=changes)}
    if ok:
        successes[200] = Success(body, "Success, at once.", changes=changes)
    if not_modified:
        successes[304] = OpenApiResponse(None, "Not modified.")
    header_parameters = [
        OpenApiParameter(
            name,
            str,
            OpenApiParameter.HEADER,
            response=[status, 304] if not_modified and name == "ETag" else [status],
            required=True,
        )
        for name in headers
    ]
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        request=request,
        parameters=[*parameters, *header_parameters],
        examples=list(examples),
        responses=successes | failure_responses(errors, has_body=request is not None),
    )


def merge_patch_of(serializer: Any) -> Any:
    """Return a serializer of the same fields, whose component is that of a merge patch."""
    kind = serializer if isinstance(serializer, type) else type(serializer)
    name = re.sub("(Update|Write)?Serializer$", "MergePatchSerializer", kind.__name__)
    return type(name, (kind,), {})


def failure_responses(errors: Sequence[int], has_body: bool) -> dict[int, OpenApiResponse]:
    """Return the failures of a route, by status: its own, and those that every route may return."""
    statuses = {*errors, *COMMON_FAILURES, *(BODY_FAILURES if has_body else ())}
    return {
        status: OpenApiResponse(
            FAILURE_SERIALIZERS.get(status, ErrorResponseSerializer), FAILURES[status]
        )
        for status in sorted(statuses)
    }


class EnvelopeSchema(AutoSchema):
    """Add to the OpenAPI schema what drf-spectacular omits: envelope, headers, limits of fields."""

    def get_operation_id(self) -> str:
        responses: Any = self.get_response_serializers()
        success = responses[min(responses)].response
        is_list = self.method == "GET" and is_list_serializer(success)
        return openapi_names.operation_id(self.method, self._path_parts(), is_list=is_list)

    def get_tags(self) -> list[str]:
        return [openapi_names.tag(self._path_parts())]

    def _path_parts(self) -> list[str]:
        return str(self.path).removeprefix(self.path_prefix.lstrip("^")).strip("/").split("/")

    def _get_serializer_name(self, serializer: Any, *args: Any, **kwargs: Any) -> str:
        return component_name(super()._get_serializer_name(serializer, *args, **kwargs))

    def get_paginated_name(self, serializer_name: str) -> str:
        return f"{serializer_name}ListResponse"

    def _is_keyed(self) -> bool:
        return self.method in KEYED_METHODS and any(self.get_auth())

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        return [*parameters, KEY_PARAMETER] if self._is_keyed() else parameters

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        responses: dict[str, Any] = super()._get_response_bodies(direction)
        if not self._is_keyed():
            return responses
        for status in KEYED_FAILURES:
            failure = OpenApiResponse(ErrorResponseSerializer, FAILURES[status])
            responses[str(status)] = self._get_response_for_code(failure, str(status))
        for code, response in responses.items():
            if code.startswith("2"):
                response["headers"][IDEMPOTENCY_REPLAYED] = REPLAYED_HEADER
        return dict(sorted(responses.items()))

    def _resolve_path_parameters(self, variables: list[str]) -> list[dict[str, Any]]:
        integer = {"type": "integer", "format": "int64", "minimum": 1}
        return [
            {"in": "path", "name": name, "schema": integer, "required": True} for name in variables
        ]

    def _map_serializer_field(self, field: Any, direction: Any, *args: Any, **kwargs: Any) -> Any:
        schema = super()._map_serializer_field(field, direction, *args, **kwargs)
        if direction == "request":
            for validator in getattr(field, "validators", ()):
                if isinstance(validator, ProhibitNullCharactersValidator):
                    schema["pattern"] = r"^[^\x00]*$"
                schema.update(getattr(validator, "json_schema", {}))
        return schema

    def _get_request_body(self, direction: Any = "request") -> Any:
        body = super()._get_request_body(direction)
        if not body:
            return None
        content = body["content"]
        merge_patch = content.get(MERGE_PATCH)
        if merge_patch and merge_patch["schema"] == content[JSON]["schema"]:
            # With one component for both, a generated client sends each update as a merge patch.
            serializer = merge_patch_of(self.get_request_serializer())
            merge_patch["schema"], _ = self._get_request_for_media_type(serializer, direction)
        return {**body, "required": True}

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)
        if get_override(serializer, "description") is None:
            schema.pop("description", None)  # the docstring, which is not written for clients
        if isinstance(serializer, StrictFieldsMixin):
            schema["additionalProperties"] = False
        for name, field_schema in schema.get("properties", {}).items():
            # drf-spectacular's form for a pattern or ""; our patterns match "" themselves.
            pattern_or_blank = field_schema.get("oneOf", ())
            if {"type": "string", "maxLength": 0} in pattern_or_blank:
                schema["properties"][name] = pattern_or_blank[0]
        return schema

    def _get_response_for_code(
        self,
        serializer: Any,
        status_code: str,
        media_types: Any = None,
        direction: Any = "response",
    ) -> Any:
        response = super()._get_response_for_code(serializer, status_code, media_types, direction)
        for media in response.get("content", {}).values():
            if isinstance(serializer, Success):
                media["schema"] = self._envelope(media["schema"], serializer)
        names = {"X-Request-ID": "The id of this request.", **HEADERS.get(int(status_code), {})}
        response["headers"] = {
            name: {"description": text, "required": True, "schema": {"type": "string"}}
            for name, text in names.items()
        } | response.get("headers", {})
        response["headers"] |= copy.deepcopy(LIMIT_HEADERS)
        return response

    def _envelope(self, data: dict[str, Any], success: Success) -> dict[str, Any]:
        """Return the reference to the component of a success, whose `data` has this schema."""
        is_list = data.get("type") == "array"
        name = (data["items"] if is_list else data)["$ref"].rpartition("/")[2]
        if name.endswith("Response"):
            return data  # a page of a list
        extra = {}
        if is_list and self.method == "GET" or getattr(success.response, "is_paged", False):
            extra["pagination"] = {"$ref": "#/components/schemas/Pagination"}
        if success.changes:
            extra["changes"] = {"$ref": "#/components/schemas/Changes"}
        kind = f"{'Change' if success.changes else ''}{'List' if is_list else ''}Response"
        component = ResolvedComponent(
            f"{name}{kind}",
            ResolvedComponent.SCHEMA,
            schema=envelope_schema(data, **extra),
            object=f"{name}{kind}",
        )
        self.registry.register_on_missing(component)
        return component.ref


class OpenAPIView(APIView):
    """`GET /api/v1/openapi.json`: OpenAPI 3.1, not wrapped in the envelope."""

    http_method_names = ["get", "head"]
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        """Return the description of the API; 304 if `If-None-Match` names its `ETag`."""
        refuse_preconditions(request)
        body, etag = rendered_document()
        if is_known(request, etag):
            response = HttpResponse(status=HTTPStatus.NOT_MODIFIED)
        else:
            response = HttpResponse(body, content_type="application/json")
        response["ETag"], response["Cache-Control"] = etag, "no-cache"
        patch_vary_headers(response, ["Accept-Encoding"])  # a 304 has the headers of the 200
        return response


@functools.cache
def rendered_document() -> tuple[bytes, str]:
    """Return the bytes of the description, and their entity tag; rendered once per process."""
    body = FastJSONRenderer().render(document())
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


@functools.cache
def document() -> Any:
    """Return the description, built once per process: the routes do not change."""
    return SchemaGenerator().get_schema(request=None, public=True)
