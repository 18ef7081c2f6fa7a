"""The schema class of all views: drf-spectacular's, extended by envelope, headers and limits."""

import copy
import re
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from django.db import models
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import (
    ResolvedComponent,
    build_examples_list,
    is_list_serializer,
)
from drf_spectacular.utils import OpenApiResponse, PolymorphicProxySerializer

from rivergen.http.openapi import names
from rivergen.http.openapi.describing import Success
from rivergen.http.openapi.errors import ErrorResponseSerializer
from rivergen.http.openapi.examples import JSON, KEYED_EXAMPLES, MERGE_PATCH, of_status
from rivergen.http.openapi.words import (
    CHANGES,
    FAILURES,
    HEADER_SCHEMAS,
    HEADERS,
    KEY_PARAMETER,
    LIMIT_HEADERS,
    PATH_VARIABLES,
    REPLAYED_HEADER,
    SOMETIMES,
)
from rivergen.http.pagination import PAGINATION
from rivergen.http.responses import envelope_schema
from rivergen.http.serializers import StrictFieldsMixin

# The methods that are not idempotent (RFC 9110, section 9.2.2).
KEYED_METHODS = ("POST", "PATCH")
KEYED_FAILURES = (409, 422)
IDEMPOTENCY_KEY = "Idempotency-Key"
IDEMPOTENCY_REPLAYED = "Idempotency-Replayed"
PLACES = ("path", "query", "header")


class BearerScheme(OpenApiAuthenticationExtension):
    """The security scheme: bearer tokens (RFC 6750)."""

    target_class = "organizations.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}


class EnvelopeSchema(AutoSchema):
    """Add to the OpenAPI schema what drf-spectacular omits: envelope, headers, limits of fields."""

    def get_operation_id(self) -> str:
        responses: Any = self.get_response_serializers()
        success = responses[min(responses)].response
        is_list = self.method == "GET" and is_list_serializer(success)
        return names.operation_id(self.method, self._path_parts(), is_list=is_list)

    def get_tags(self) -> list[str]:
        return [names.tag(self._path_parts())]

    def _path_parts(self) -> list[str]:
        return str(self.path).removeprefix(self.path_prefix.lstrip("^")).strip("/").split("/")

    def _get_serializer_name(self, serializer: Any, *args: Any, **kwargs: Any) -> str:
        return names.component_name(super()._get_serializer_name(serializer, *args, **kwargs))

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


def is_int32(field: Any) -> bool:
    """Return whether a serializer's field shows a column of 32 bits; its limits are not shown."""
    model = getattr(getattr(field.parent, "Meta", None), "model", None)
    columns = {column.name: column for column in model._meta.fields} if model else {}
    column = columns.get(field.source)
    return isinstance(column, models.IntegerField) and not isinstance(
        column, models.BigIntegerField | models.BigAutoField
    )


def merge_patch_of(serializer: Any) -> Any:
    """Return a serializer of the same fields, whose component is that of a merge patch."""
    kind = serializer if isinstance(serializer, type) else type(serializer)
    name = re.sub("(Update|Write)?Serializer$", "MergePatchSerializer", kind.__name__)
    return type(name, (kind,), {})
