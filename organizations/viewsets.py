"""The base of all viewsets whose rows belong to an organization."""

from collections.abc import Callable, Collection, Iterable
from typing import Any, ClassVar

from django.core.exceptions import ObjectDoesNotExist
from django_filters import FilterSet
from rest_framework import viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from organizations.authentication import caller
from organizations.models import Membership, Organization, User
from organizations.permissions import IsAuthenticated, require_membership
from rivergen.http.exceptions import NoSuchResource
from rivergen.http.filters import FilterBackend
from rivergen.http.input import check_parameters, read_id
from rivergen.http.pagination import CursorPagination
from rivergen.http.parsers import MergePatchParser, StrictJSONParser
from rivergen.observability.logs import note


class ScopedViewSet(viewsets.GenericViewSet):
    """Rows of the organizations the caller belongs to.

    Querysets are scoped by a join with the caller's memberships. Only if such a query finds
    nothing, a second one distinguishes a deactivated user (401) and a member of no organization
    (403) from a row that does not exist (404).
    """

    organization_id: int | None = None
    """The organization of the row, once it is found: for logs and for idempotency records."""
    other_organization_ids: Collection[int] = ()
    """Further organizations whose rows the answer shows, if it shows many."""

    permission_classes = [IsAuthenticated]
    pagination_class: type[CursorPagination] = CursorPagination
    paginator: CursorPagination
    lookup_url_kwarg: str
    ordering = "id"
    ordering_fields: ClassVar[tuple[str, ...]] = ()
    filter_backends = [FilterBackend]
    filterset_class: ClassVar[type[FilterSet] | None] = None
    repeatable_parameters: ClassVar[tuple[str, ...]] = ()

    @property
    def caller(self) -> User:
        """The user of the access token. Only the id is loaded; other fields need a query."""
        return caller(self.request)

    def get_parsers(self) -> list[BaseParser]:
        if self.request is not None and self.request.method == "PATCH":
            return [StrictJSONParser(), MergePatchParser()]
        return [StrictJSONParser()]

    def get_object(self) -> Any:
        return self.find(self.get_queryset(), self.kwargs[self.lookup_url_kwarg])

    def find(self, queryset: Any, text_id: str, field: str = "pk") -> Any:
        """Return one row of a scoped queryset by an id of the path. Raises 401, 403 or 404."""
        try:
            row = queryset.get(**{field: read_id(text_id)})
        except ObjectDoesNotExist:
            self.refuse_missing_row()
        self.organization_id = row.pk if isinstance(row, Organization) else row.organization_id
        return row

    def found_in(self, organization_ids: Iterable[int]) -> None:
        """Record the organizations of many rows; of none, one that the caller belongs to."""
        ids = [*dict.fromkeys(organization_ids)]
        if not ids:
            memberships = Membership.objects.for_user(self.caller).order_by("pk")
            ids = [*memberships.values_list("organization_id", flat=True)[:1]]
        self.organization_id, *self.other_organization_ids = ids

    def answer_again(self, perform: Callable[[], Response] | None) -> Response:
        """Return the answer to a retry of a request that changed nothing.

        For views whose answers may have `changed_nothing`. `perform` performs the request; an
        update with `verify` has none.
        """
        raise NotImplementedError

    def refuse_missing_row(self) -> Any:
        """Raise NoSuchResource (404), or 401 or 403 if the caller belongs to no organization."""
        require_membership(self.caller)
        raise NoSuchResource

    def list_page(self, request: Request, message: str, rows: Any = None) -> Response:
        """Return one filtered page of `rows`, by default of the view's queryset."""
        queryset = self.get_queryset() if rows is None else rows
        try:
            check_parameters(request, self.list_parameters(), repeatable=self.repeatable_parameters)
            rows = self.paginate_queryset(self.filter_queryset(queryset))
        except ValidationError:
            require_membership(self.caller)  # 401 and 403 come before 400
            raise
        if not rows:
            require_membership(self.caller)
        data = self.get_serializer(rows, many=True).data
        return self.paginator.get_paginated_response(data, message)

    @classmethod
    def list_parameters(cls) -> list[str]:
        """Return the names of the query parameters that the list takes."""
        names = [*cls.pagination_class.query_parameters]
        if cls.ordering_fields:
            names.append("ordering")
        if cls.filterset_class is not None:
            names += cls.filterset_class.base_filters
        return names

    def handle_exception(self, exc: Exception) -> Response:
        self._note_organization()
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        self._note_organization()
        return super().finalize_response(request, response, *args, **kwargs)

    def _note_organization(self) -> None:
        """Add the organization to the log lines that follow in this request."""
        if self.organization_id is not None:
            note(organization_id=self.organization_id)
