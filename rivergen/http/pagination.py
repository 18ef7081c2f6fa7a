"""Cursor pagination: a cursor names the row after which the next page starts."""

import base64
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import models
from django.db.models import F, Q
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from rivergen.http.responses import SuccessResponse, envelope_schema

PAGE_SIZE = 50
PAGE_SIZE_MAX = 200
PAGINATION = {
    "$ref": "#/components/schemas/Pagination",
    "description": "Where this page is in the list.",
}
PAGE_WORDS = {
    "cursor": "The `next_cursor` of the page before. Leave it out for the first page.",
    "page_size": "The most entries of a page. A page may have fewer, although others follow.",
    "ordering": "What the list is sorted by; `-` in front: descending.",
}
# The size of a page as JSON; as Python objects it takes several times as much memory.
PAGE_BYTES_MAX = 4 * 1024 * 1024
# Rows may be large: a statement reads at most so many, and Django makes objects of a few at a time.
ROWS_AT_ONCE = 101
OBJECTS_AT_ONCE = 10
SHORT_LENGTH = 255
BIGINT_MAX = models.BigIntegerField.MAX_BIGINT
NO_CURSOR = (
    "Not a cursor of this list. Send the next_cursor of one of its pages, with the same ordering "
    "and the same other parameters."
)


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

    def condition(self, descending: bool) -> Q:
        """Return the condition for the rows that come after this position."""
        comparison = "lt" if descending else "gt"
        # The first condition follows from the others, but only the first can use an index.
        return Q(**{f"{self.field_name}__{comparison}e": self.value}) & (
            Q(**{f"{self.field_name}__{comparison}": self.value})
            | Q(**{self.field_name: self.value, f"id__{comparison}": self.row_id})
        )

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
            raise ValidationError({"cursor": [NO_CURSOR]}) from None
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
        following = self._rows_after(cursor, queryset, descending)
        rows, has_more = take_page(following, self.page_size, measure=row_bytes)
        if backwards:
            rows.reverse()
        self.rows = rows
        self.has_next = backwards or has_more
        self.has_previous = has_more if backwards else cursor is not None
        return rows

    def _rows_after(self, cursor: Cursor | None, queryset: Any, descending: bool) -> Iterator[Any]:
        """Yield the rows after a cursor; rows that nobody takes are mostly not read."""
        order = [
            F(name).desc() if descending else F(name).asc() for name in (self.field_name, "id")
        ]
        at_once = min(self.page_size + 1, ROWS_AT_ONCE)
        while True:
            rows = queryset if cursor is None else queryset.filter(cursor.condition(descending))
            count = 0
            for row in rows.order_by(*order)[:at_once].iterator(OBJECTS_AT_ONCE):
                yield row
                count += 1
            if count < at_once:
                return
            cursor = self._cursor_at(row, backwards=False)

    def get_paginated_response(self, data: Any, message: str = "") -> Response:
        after = before = None
        if self.rows and self.has_next:
            after = self._cursor_at(self.rows[-1], backwards=False).encode()
        if self.rows and self.has_previous:
            before = self._cursor_at(self.rows[0], backwards=True).encode()
        return SuccessResponse(
            data, message, pagination=page_links(self.url, self.page_size, after, before)
        )

    def _cursor_at(self, row: Any, *, backwards: bool) -> Cursor:
        return Cursor(self.field_name, backwards, getattr(row, self.field_name), row.pk)

    def _read_ordering(self, request: Request, view: Any) -> str:
        ordering: str = request.query_params.get("ordering", view.ordering)
        if ordering != view.ordering and ordering.removeprefix("-") not in view.ordering_fields:
            names = ", ".join(view.ordering_fields)
            raise ValidationError({"ordering": [f"Must be one of: {names}; - for descending."]})
        return ordering

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        return envelope_schema(schema, pagination=PAGINATION)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        schemas = page_parameters()
        if view.ordering_fields:
            names = [f"{sign}{name}" for name in view.ordering_fields for sign in ("", "-")]
            schemas["ordering"] = {"type": "string", "enum": names, "default": view.ordering}
        return [
            {
                "name": name,
                "in": "query",
                "description": PAGE_WORDS[name],
                "schema": schema,
            }
            for name, schema in schemas.items()
        ]


def json_bytes(value: Any) -> int:
    """Return the size of a value as compact JSON."""
    try:
        return len(orjson.dumps(value, default=str))
    except TypeError:  # lone surrogates, or integers of more than 64 bits
        return len(json.dumps(value, default=str))


def row_bytes(row: models.Model) -> int:
    """Return the size of the columns of a row that may be large, as JSON."""
    columns = vars(row)
    return json_bytes([columns.get(name) for name in large_columns(type(row))])


@functools.cache
def large_columns(model: type[models.Model]) -> list[str]:
    """Return the columns that are neither numbers nor times nor short strings."""
    kinds = (models.CharField, models.TextField, models.JSONField, ArrayField)
    return [
        field.attname
        for field in model._meta.concrete_fields
        if isinstance(field, kinds) and (field.max_length or SHORT_LENGTH + 1) > SHORT_LENGTH
    ]


def take_page(
    rows: Iterable[Any], size: int, measure: Callable[[Any], int] = json_bytes
) -> tuple[list[Any], bool]:
    """Return up to `size` rows, at least one but no more than fit, and whether more follow."""
    taken: list[Any] = []
    byte_count = 0
    for row in rows:
        byte_count += measure(row)
        if len(taken) == size or (taken and byte_count > PAGE_BYTES_MAX):
            return taken, True
        taken.append(row)
    return taken, False


def read_page_size(request: Request) -> int:
    """Return `?page_size=`, or the default. Raises ValidationError (400)."""
    text = request.query_params.get("page_size")
    if text is None:
        return PAGE_SIZE
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    if is_number and 1 <= int(text) <= PAGE_SIZE_MAX:
        return int(text)
    raise ValidationError({"page_size": [f"Must be a number from 1 to {PAGE_SIZE_MAX}."]})


def page_links(
    url: str, page_size: int, next_cursor: str | None = None, previous_cursor: str | None = None
) -> dict[str, Any]:
    """Return `pagination`: the URLs and cursors of the next and the previous page of a list."""

    def link(cursor: str | None) -> str | None:
        return cursor and replace_query_param(url, "cursor", cursor)

    return {
        "next": link(next_cursor),
        "next_cursor": next_cursor,
        "previous": link(previous_cursor),
        "previous_cursor": previous_cursor,
        "page_size": page_size,
    }


def page_parameters() -> dict[str, dict[str, Any]]:
    """Return the JSON schemas of the query parameters that every list takes."""
    size = {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": PAGE_SIZE}
    return {"cursor": {"type": "string", "format": "cursor"}, "page_size": size}


def pagination_schema() -> dict[str, Any]:
    """Return the JSON schema of `pagination`, which a list has beside its `data`."""
    members: dict[str, Any] = {}
    for name in ("next", "previous"):
        members[name] = {
            "type": ["string", "null"],
            "format": "uri",
            "description": f"The URL of the {name} page. Null: there is none.",
        }
        members[f"{name}_cursor"] = {
            "type": ["string", "null"],
            "description": f"Send it as `?cursor=`, with the same other parameters, to get the "
            f"{name} page. Null: there is none.",
        }
    members["page_size"] = {"type": "integer", "description": PAGE_WORDS["page_size"]}
    return {
        "type": "object",
        "description": "Where this page is in the list.",
        "properties": members,
        "required": [*members],
    }
