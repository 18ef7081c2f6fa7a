"""Cursor pagination: a cursor names the row after which the next page starts."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError as ModelValidationError
from django.db import models
from django.db.models import F, Q
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from rivergen.http.responses import SuccessResponse, envelope_schema

PAGE_SIZE = 50
PAGE_SIZE_MAX = 200
BIGINT_MAX = models.BigIntegerField.MAX_BIGINT


@dataclass(frozen=True)
class Cursor:
    """A position in a list: after the row with this value and id, or before it if `backwards`."""

    field_name: str
    backwards: bool
    value: Any
    row_id: int

    def encode(self) -> str:
        """Return the cursor as it is written in a URL."""
        value = self.value.isoformat() if isinstance(self.value, datetime) else self.value
        members = [self.field_name, self.backwards, value, self.row_id]
        text = json.dumps(members, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, encoded: str, field: models.Field) -> "Cursor":
        """Return the cursor of a URL, for rows ordered by `field`. Raises ValidationError (400)."""
        try:
            padded = encoded.encode("ascii") + b"=" * (-len(encoded) % 4)
            members = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            field_name, backwards, value, row_id = members
            is_number = isinstance(field, models.IntegerField)
            if [type(member) for member in members] != [str, bool, int if is_number else str, int]:
                raise ValueError
            if field_name != field.name or not 0 < row_id <= BIGINT_MAX or "\0" in str(value):
                raise ValueError
            str(value).encode()  # raises for a lone surrogate
            value = field.clean(value, None)
            if isinstance(value, datetime):
                if value.tzinfo is None:
                    raise ValueError
                value = value.astimezone(UTC)  # PostgreSQL refuses offsets of 16 hours and more
        except (ArithmeticError, RecursionError, TypeError, ValueError, ModelValidationError):
            raise ValidationError({"cursor": ["Not a cursor of this list."]}) from None
        return cls(field_name, backwards, value, row_id)


class CursorPagination(BasePagination):
    """Paginate by one field and the id as tie-breaker: every page costs as much as the first.

    DRF's own class compares the field alone and skips rows of equal value by an offset of at most
    1,000; beyond that it repeats rows.

    The view sets `ordering` (the default) and `ordering_fields` (allowed in `?ordering=`).
    """

    query_parameters = ("cursor", "page_size")

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the rows of the page. Raises ValidationError (400) for a bad parameter."""
        self.url = request.build_absolute_uri()
        self.page_size = read_page_size(request)
        ordering = self._read_ordering(request, view)
        self.field_name = ordering.lstrip("-")
        field = queryset.model._meta.get_field(self.field_name)
        encoded = request.query_params.get("cursor")
        cursor = Cursor.decode(encoded, field) if encoded is not None else None

        backwards = cursor is not None and cursor.backwards
        descending = ordering.startswith("-") != backwards
        if cursor is not None:
            comparison = "lt" if descending else "gt"
            queryset = queryset.filter(
                # The first condition follows from the others, but only the first can use an index.
                Q(**{f"{self.field_name}__{comparison}e": cursor.value}),
                Q(**{f"{self.field_name}__{comparison}": cursor.value})
                | Q(**{self.field_name: cursor.value, f"id__{comparison}": cursor.row_id}),
            )
        order = [
            F(name).desc() if descending else F(name).asc() for name in (self.field_name, "id")
        ]
        rows = list(queryset.order_by(*order)[: self.page_size + 1])
        has_more = len(rows) > self.page_size
        rows = rows[: self.page_size]
        if backwards:
            rows.reverse()
        self.rows = rows
        self.has_next = backwards or has_more
        self.has_previous = has_more if backwards else cursor is not None
        return rows

    def get_paginated_response(self, data: Any, message: str = "") -> Response:
        pagination = {
            "next": self._link(-1, backwards=False) if self.has_next else None,
            "previous": self._link(0, backwards=True) if self.has_previous else None,
            "page_size": self.page_size,
        }
        return SuccessResponse(data, message, pagination=pagination)

    def _link(self, index: int, *, backwards: bool) -> str | None:
        if not self.rows:
            return None
        row = self.rows[index]
        cursor = Cursor(self.field_name, backwards, getattr(row, self.field_name), row.pk)
        return replace_query_param(
            remove_query_param(self.url, "cursor"), "cursor", cursor.encode()
        )

    def _read_ordering(self, request: Request, view: Any) -> str:
        ordering: str = request.query_params.get("ordering", view.ordering)
        if ordering != view.ordering and ordering.removeprefix("-") not in view.ordering_fields:
            names = ", ".join(view.ordering_fields)
            raise ValidationError({"ordering": [f"Must be one of: {names}; - for descending."]})
        return ordering

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        return envelope_schema(schema, pagination=pagination_schema())

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        schemas = page_parameters()
        if view.ordering_fields:
            names = [f"{sign}{name}" for name in view.ordering_fields for sign in ("", "-")]
            schemas["ordering"] = {"type": "string", "enum": names, "default": view.ordering}
        return [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in schemas.items()
        ]


def read_page_size(request: Request) -> int:
    """Return `?page_size=`, or the default. Raises ValidationError (400)."""
    text = request.query_params.get("page_size")
    if text is None:
        return PAGE_SIZE
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    if is_number and 1 <= int(text) <= PAGE_SIZE_MAX:
        return int(text)
    raise ValidationError({"page_size": [f"Must be a number from 1 to {PAGE_SIZE_MAX}."]})


def page_parameters() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of the query parameters that every list takes."""
    size = {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE}
    return {"cursor": {"type": "string", "format": "cursor"}, "page_size": size}


def pagination_schema() -> dict[str, Any]:
    """Return the JSON schema of `pagination`, which a list has beside its `data`."""
    link = {"type": ["string", "null"], "format": "uri"}
    members = {"next": link, "previous": link, "page_size": {"type": "integer"}}
    return {"type": "object", "properties": members, "required": [*members]}
