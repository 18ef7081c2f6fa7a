"""The base of every endpoint whose rows belong to an organization."""

import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

from django.core.exceptions import ObjectDoesNotExist, RequestDataTooBig
from django_filters import FilterSet
from rest_framework import viewsets
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.authentication import caller
from organizations.models import Organization
from organizations.permissions import IsAuthenticated, require_membership
from rivergen.http.input import check_parameters, read_id
from rivergen.http.pagination import CursorPagination
from rivergen.http.parsers import MergePatchParser, StrictJSONParser
from rivergen.observability.logs import note


class ScopedViewSet(viewsets.GenericViewSet):
    """Rows of the organizations the caller belongs to.

    `get_queryset`, or what `list_page` is given, is scoped. Only when that finds nothing does
    another query tell a deactivated user (401) and a member of nothing (403) from a row that is
    not there (404).
    """

    organization_id: int  # of what the request is about, once that is found

    permission_classes = [IsAuthenticated]
    pagination_class: type[CursorPagination] = CursorPagination
    paginator: CursorPagination
    lookup_url_kwarg: str
    ordering = "id"
    ordering_fields: ClassVar[tuple[str, ...]] = ()
    filterset_class: ClassVar[type[FilterSet] | None] = None
    repeatable_parameters: ClassVar[tuple[str, ...]] = ()

    def get_parsers(self) -> list[BaseParser]:
        if self.request is not None and self.request.method == "PATCH":
            return [StrictJSONParser(), MergePatchParser()]
        return [StrictJSONParser()]

    def get_object(self) -> Any:
        return self.find(self.get_queryset(), self.kwargs[self.lookup_url_kwarg])

    def find(self, queryset: Any, text_id: str, field: str = "pk") -> Any:
        """Fetch one row of a scoped queryset by an id of the path; raises 401, 403 or 404."""
        return self.find_by(lambda number: queryset.get(**{field: number}), text_id)

    def find_by(self, get: Callable[[int], Any], text_id: str) -> Any:
        """Do so with a function that gives the caller's row, or raises DoesNotExist."""
        try:
            row = get(read_id(text_id))
        except ObjectDoesNotExist:
            require_membership(caller(self.request))
            raise NotFound from None
        note(organization_id=row.pk if isinstance(row, Organization) else row.organization_id)
        return row

    def receive_body(self) -> None:
        """Read the body before a lock is taken: a slow client must not keep it.

        One that is too large is refused later, in its turn, by `read_body`.
        """
        with contextlib.suppress(RequestDataTooBig):
            _ = self.request.body

    def list_page(self, request: Request, message: str, rows: Any = None) -> Response:
        """Answer with one page of the filtered queryset: `rows`, or else that of the view."""
        queryset = self.get_queryset() if rows is None else rows
        try:
            check_parameters(request, self.list_parameters(), repeatable=self.repeatable_parameters)
            rows = self.paginate_queryset(self.filter_queryset(queryset))
        except ValidationError:
            require_membership(caller(request))  # whoever may not be here learns that first
            raise
        if not rows:
            require_membership(caller(request))
        data = self.get_serializer(rows, many=True).data
        return self.paginator.get_paginated_response(data, message)

    @classmethod
    def list_parameters(cls) -> list[str]:
        """Name the query parameters that the list takes."""
        names = [*cls.pagination_class.query_parameters]
        if cls.ordering_fields:
            names.append("ordering")
        if cls.filterset_class is not None:
            names += cls.filterset_class.base_filters
        return names
