"""openapi.json: drf-spectacular, extended by the response envelope and every failure."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import build_examples_list
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from rivergen.http.examples import FAILURE_EXAMPLES, JSON, KEYED_EXAMPLES
from rivergen.http.pagination import pagination_schema
from rivergen.http.responses import ERROR_CODES, EXACT_CODES, envelope_schema
from rivergen.http.serializers import StrictFieldsMixin

FAILURES = {
    400: "Malformed HTTP or JSON, or an unknown, read-only or invalid field.",
    401: "A missing, malformed, expired or forged token, or a deactivated user.",
    403: "The caller is a member of no organization, or the caller's role does not allow this.",
    404: "There is no such resource in the caller's organizations.",
    405: "This path does not support this method.",
    406: "The response is available as JSON only.",
    408: "The request took too long to arrive.",
    409: "The state of the resource does not allow this, the organization has as many of "
    "something as it may (`QUOTA_EXCEEDED`), or a request with this `Idempotency-Key` is still in "
    "flight.",
    412: "`If-Match` names another version than the current one.",
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
    "schema": {"const": "true"},
}
HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": "`Bearer`, and what is wrong with the token if there is one."},
    405: {"Allow": "The methods that this path supports."},
    412: {"ETag": "The current version, in double quotes."},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}
SUCCESS_HEADERS = {
    "ETag": "Identifies what is returned. Of a data source: its version, for `If-Match`.",
    "Location": "The path of what was created, or of the result to wait for.",
}
# The variables of paths, with values that work in the demo of `make run`. The ids of connection
# tests are random: the person who tries it has to copy one.
PATH_VARIABLES: dict[str, dict[str, Any]] = {
    "data_source_id": {"description": "The `id` of the data source.", "example": 1},
    "organization_id": {"description": "The `id` of the organization.", "example": 1},
    "test_id": {"description": "The `test_id` that the start of the connection test returned."},
    "user_id": {"description": "The `user_id` of the member.", "example": 4},
    "version": {
        "description": "The version to restore, as the history lists it.",
        "example": 1,
    },
    "workspace_id": {"description": "The `id` of the workspace.", "example": 1},
}


class ErrorDetailSerializer(serializers.Serializer):
    """The error of a failure."""

    code = serializers.ChoiceField(
        choices=sorted([*ERROR_CODES.values(), *EXACT_CODES]),
        help_text="What went wrong, for programs. Treat a code that you do not know by its status.",
    )
    message = serializers.CharField(help_text="One sentence for a person.")
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Sentences by field; empty if the error is not about a field.",
    )
    request_id = serializers.CharField(
        help_text="The id of the request, as in `X-Request-ID`. Tell it to whom you ask for help."
    )


class ErrorSerializer(serializers.Serializer):
    """The envelope of every failure."""

    success = serializers.BooleanField(help_text="Always false.")
    error = ErrorDetailSerializer(help_text="What went wrong.")


class BearerScheme(OpenApiAuthenticationExtension):
    """The security scheme: bearer tokens (RFC 6750)."""

    target_class = "organizations.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


def describe(
    summary: str,
    description: str = "",
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
    operation_id: str | None = None,
) -> Callable[[Any], Any]:
    """Describe a view method: `response` is the serializer of its `data`, `errors` its failures.

    The failures that every route may return are added. `headers` names the headers of a success,
    of `ETag` and `Location`. With `ok`, the method may return 200 instead of `status`. Each of
    the `examples` belongs to the request, or to the responses with its statuses.
    """
    body: Any = response(many=True) if many else response
    answers = [example for example in examples if example.response_only]
    successes = {status: OpenApiResponse(body, "Success.", of_status(status, answers))}
    if ok:
        successes[200] = OpenApiResponse(body, "Success, at once.", of_status(200, answers))
    if not_modified:
        successes[304] = OpenApiResponse(None, "Not modified.")
    header_parameters = [
        OpenApiParameter(
            name,
            str,
            OpenApiParameter.HEADER,
            response=[status],
            required=True,
            description=SUCCESS_HEADERS[name],
        )
        for name in headers
    ]
    return extend_schema(
        operation_id=operation_id,
        summary=summary,
        description=description,
        request=request,
        parameters=[*parameters, *header_parameters],
        examples=[example for example in examples if not example.response_only],
        responses=successes | failure_responses(errors, answers, has_body=request is not None),
    )


def of_status(status: int, examples: Iterable[OpenApiExample]) -> list[OpenApiExample]:
    """Return the examples of responses with this status."""
    return [example for example in examples if str(status) in example.status_codes]


def failure_responses(
    errors: Sequence[int], examples: Sequence[OpenApiExample] = (), *, has_body: bool
) -> dict[int, OpenApiResponse]:
    """Return the failures of a route, by status: its own, and those that every route may return."""
    statuses = {*errors, *COMMON_FAILURES, *(BODY_FAILURES if has_body else ())}
    return {
        status: OpenApiResponse(
            ErrorSerializer, FAILURES[status], of_status(status, [*examples, *FAILURE_EXAMPLES])
        )
        for status in sorted(statuses)
    }


class EnvelopeSchema(AutoSchema):
    """Add to the OpenAPI schema what drf-spectacular omits: envelope, headers, limits of fields."""

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
            examples = of_status(status, KEYED_EXAMPLES)
            failure = OpenApiResponse(ErrorSerializer, FAILURES[status], examples)
            keyed = self._get_response_for_code(failure, str(status))
            response = responses.setdefault(str(status), keyed)
            for media_type, media in response["content"].items():
                media.setdefault("examples", {}).update(keyed["content"][media_type]["examples"])
        for code, response in responses.items():
            if code.startswith("2"):
                response["headers"][IDEMPOTENCY_REPLAYED] = REPLAYED_HEADER
        return dict(sorted(responses.items()))

    def _resolve_path_parameters(self, variables: list[str]) -> list[dict[str, Any]]:
        integer = {"type": "integer", "format": "int64", "minimum": 1}
        return [
            {"in": "path", "name": name, "schema": integer, "required": True} | PATH_VARIABLES[name]
            for name in variables
        ]

    def _get_examples(
        self, serializer: Any, direction: Any, media_type: Any, status: Any = None, extras: Any = ()
    ) -> Any:
        if direction == "response":
            # Each example is a whole body; drf-spectacular would wrap those of lists again.
            return build_examples_list(extras)
        found = super()._get_examples(serializer, direction, media_type, status, extras)
        # What has no examples of its own, such as a merge patch, has those of JSON.
        return found or super()._get_examples(serializer, direction, JSON, status, extras)

    def _map_serializer_field(self, field: Any, direction: Any, *args: Any, **kwargs: Any) -> Any:
        schema = super()._map_serializer_field(field, direction, *args, **kwargs)
        if direction == "request":
            for validator in getattr(field, "validators", ()):
                if isinstance(validator, ProhibitNullCharactersValidator):
                    schema["pattern"] = r"^[^\u0000]*$"
                schema.update(getattr(validator, "json_schema", {}))
        return schema

    def _get_request_body(self, direction: Any = "request") -> Any:
        body = super()._get_request_body(direction)
        return body and {**body, "required": True}

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)
        # What follows the first paragraph of a docstring is for the developers of this service.
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].partition("\n\n")[0].split())
        if isinstance(serializer, StrictFieldsMixin):
            schema["additionalProperties"] = False
        for name, field_schema in schema.get("properties", {}).items():
            # drf-spectacular's form for a pattern or ""; our patterns match "" themselves.
            pattern_or_blank = field_schema.get("oneOf", ())
            if {"type": "string", "maxLength": 0} in pattern_or_blank:
                rest = {key: part for key, part in field_schema.items() if key != "oneOf"}
                schema["properties"][name] = pattern_or_blank[0] | rest
        return schema

    def _get_response_for_code(
        self,
        serializer: Any,
        status_code: str,
        media_types: Any = None,
        direction: Any = "response",
    ) -> Any:
        response = super()._get_response_for_code(serializer, status_code, media_types, direction)
        is_page = self._is_list_view() and self.method == "GET"
        for media in response.get("content", {}).values():
            if status_code.startswith("2") and not is_page:
                is_list = media["schema"].get("type") == "array"
                is_paged = is_list or getattr(serializer.response, "is_paged", False)
                extra = {"pagination": pagination_schema()} if is_paged else {}
                media["schema"] = envelope_schema(media["schema"], **extra)
        names = {"X-Request-ID": "The id of this request.", **HEADERS.get(int(status_code), {})}
        response["headers"] = {
            name: {"description": text, "required": True, "schema": {"type": "string"}}
            for name, text in names.items()
        } | response.get("headers", {})
        return response


class OpenAPIView(APIView):
    """`GET /api/v1/openapi.json`: OpenAPI 3.1, not wrapped in the envelope."""

    http_method_names = ["get", "head"]
    authentication_classes = ()
    permission_classes = ()

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        """Return the description of the API."""
        return Response(document())


@functools.cache
def document() -> Any:
    """Return the description, built once per process: the routes do not change."""
    return SchemaGenerator().get_schema(request=None, public=True)
