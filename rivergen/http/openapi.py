"""openapi.json: drf-spectacular, extended by the response envelope and every failure."""

import copy
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from django.db import models
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import (
    ResolvedComponent,
    build_examples_list,
    is_list_serializer,
)
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    PolymorphicProxySerializer,
    extend_schema,
)
from rest_framework.request import Request
from rest_framework.views import APIView

from rivergen.http import openapi_names
from rivergen.http.examples import FAILURE_EXAMPLES, JSON, KEYED_EXAMPLES
from rivergen.http.input import is_known
from rivergen.http.openapi_errors import FAILURE_SERIALIZERS, ErrorResponseSerializer
from rivergen.http.openapi_names import component_name
from rivergen.http.openapi_words import (
    CHANGES,
    FAILURES,
    HEADER_SCHEMAS,
    HEADERS,
    KEY_PARAMETER,
    LIMIT_HEADERS,
    PATH_VARIABLES,
    REPLAYED_HEADER,
    SOMETIMES,
    SUCCESS_HEADERS,
)
from rivergen.http.pagination import PAGINATION
from rivergen.http.preconditions import refuse_preconditions
from rivergen.http.renderers import FastJSONRenderer
from rivergen.http.responses import envelope_schema
from rivergen.http.serializers import StrictFieldsMixin

# The failures that every route may return.
COMMON_FAILURES = (400, 405, 406, 408, 429, 500, 503)
BODY_FAILURES = (413, 415)
# The methods that are not idempotent (RFC 9110, section 9.2.2).
KEYED_METHODS = ("POST", "PATCH")
KEYED_FAILURES = (409, 422)
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_REPLAYED = "Idempotency-Replayed"
PLACES = ("path", "query", "header")
MERGE_PATCH = "application/merge-patch+json"


class Success(OpenApiResponse):
    """The description of a success; `changes`: it has `changes` beside `data`."""

    def __init__(
        self,
        response: Any,
        description: str,
        examples: Sequence[OpenApiExample] = (),
        *,
        changes: bool = False,
    ) -> None:
        super().__init__(response, description, examples)
        self.changes = changes


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
    failures: Mapping[int, Any] | None = None,
    headers: Sequence[str] = (),
    parameters: Sequence[OpenApiParameter] = (),
    examples: Sequence[OpenApiExample] = (),
    not_modified: bool = False,
    ok: Any = None,
    changes: bool = False,
    operation_id: str | None = None,
) -> Callable[[Any], Any]:
    """Describe a view method: `response` is the serializer of its `data`, `errors` its failures.

    The failures that every route may return are added. `headers` names the headers of a success,
    of `ETag` and `Location`. `ok` is the serializer of a 200, which the method may return instead
    of `status`. With `changes`, a success has `changes` beside `data`. Each of the `examples`
    belongs to the request, or to the responses with its statuses. `failures` are the serializers
    of failures that have more members than others, by status.
    """
    body: Any = response(many=True) if many else response
    answers = [example for example in examples if example.response_only]

    def success(text: str, status: int, body: Any) -> OpenApiResponse:
        return Success(body, text, of_status(status, answers), changes=changes)

    successes = {status: success("Success.", status, body)}
    if ok:
        successes[200] = success("Success, at once.", 200, ok)
    if not_modified:
        successes[304] = OpenApiResponse(None, "It reads exactly as it did with this `ETag`.")
    header_parameters = [
        OpenApiParameter(
            name,
            str,
            OpenApiParameter.HEADER,
            response=[status, 304] if not_modified and name == "ETag" else [status],
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
        responses=successes
        | failure_responses(errors, answers, failures or {}, has_body=request is not None),
    )


def is_int32(field: Any) -> bool:
    """Return whether a serializer's field shows a column of 32 bits; its limits are not shown."""
    model = getattr(getattr(field.parent, "Meta", None), "model", None)
    columns = {column.name: column for column in model._meta.fields} if model else {}
    column = columns.get(field.source)
    return isinstance(column, models.IntegerField) and not isinstance(
        column, models.BigIntegerField | models.BigAutoField
    )


def of_status(status: int, examples: Iterable[OpenApiExample]) -> list[OpenApiExample]:
    """Return the examples of responses with this status."""
    return [example for example in examples if str(status) in (example.status_codes or ())]


def merge_patch_of(serializer: Any) -> Any:
    """Return a serializer of the same fields, whose component is that of a merge patch."""
    kind = serializer if isinstance(serializer, type) else type(serializer)
    name = re.sub("(Update|Write)?Serializer$", "MergePatchSerializer", kind.__name__)
    return type(name, (kind,), {})


def failure_responses(
    errors: Sequence[int],
    examples: Sequence[OpenApiExample],
    failures: Mapping[int, Any],
    *,
    has_body: bool,
) -> dict[int, OpenApiResponse]:
    """Return the failures of a route, by status: its own, and those that every route may return."""
    statuses = {*errors, *COMMON_FAILURES, *(BODY_FAILURES if has_body else ())}
    shown = [*examples, *FAILURE_EXAMPLES]
    serializers = {**FAILURE_SERIALIZERS, **failures}
    return {
        status: OpenApiResponse(
            serializers.get(status, ErrorResponseSerializer),
            FAILURES[status],
            of_status(status, shown),
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

    def _get_paginator(self) -> Any:
        # What answers a PATCH with many rows answers with all of them.
        return super()._get_paginator() if self.method == "GET" else None

    def _is_keyed(self) -> bool:
        return self.method in KEYED_METHODS and any(self.get_auth())

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        if self._is_keyed():
            parameters.append(KEY_PARAMETER)
        return sorted(parameters, key=lambda parameter: PLACES.index(parameter["in"]))

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        responses: dict[str, Any] = super()._get_response_bodies(direction)
        if not self._is_keyed():
            return responses
        for status in KEYED_FAILURES:
            examples = of_status(status, KEYED_EXAMPLES)
            failure = OpenApiResponse(ErrorResponseSerializer, FAILURES[status], examples)
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
                    schema["pattern"] = r"^[^\x00]*$"
                schema.update(getattr(validator, "json_schema", {}))
        elif is_int32(field):
            schema["format"] = "int32"
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

    def _map_serializer(self, serializer: Any, *args: Any, **kwargs: Any) -> Any:
        schema = super()._map_serializer(serializer, *args, **kwargs)
        is_choice = isinstance(serializer, PolymorphicProxySerializer)
        return {**schema, "description": serializer.help_text} if is_choice else schema

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)
        if "description" in schema:
            # What follows the first paragraph of a docstring is not written for clients.
            schema["description"] = " ".join(schema["description"].partition("\n\n")[0].split())
        if isinstance(serializer, StrictFieldsMixin):
            schema["additionalProperties"] = False
        # drf-spectacular takes every member of a PATCH for optional.
        if required := getattr(serializer, "required_in_patch", ()):
            schema["required"] = [*required]
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
        for media in response.get("content", {}).values():
            if isinstance(serializer, Success):
                media["schema"] = self._envelope(media["schema"], serializer)
        names = {"X-Request-ID": "The id of this request.", **HEADERS.get(int(status_code), {})}
        response["headers"] = {
            name: {
                "description": text,
                "required": (int(status_code), name) != SOMETIMES,
                "schema": HEADER_SCHEMAS.get(name, {"type": "string"}),
            }
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
            extra["pagination"] = PAGINATION
        if success.changes:
            extra["changes"] = CHANGES
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
