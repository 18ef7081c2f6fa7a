"""Filters of the list of data sources."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import QuerySet
from django.http import HttpRequest

from datasources.models import DataSource
from datasources.models.querysets import DataSourceQuerySet


class OrganizationFilter(admin.RelatedFieldListFilter):
    """Filter by one organization, found by typing: there may be thousands."""

    template = "admin/datasources/datasource/organization_filter.html"

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        widget = AutocompleteSelect(field, model_admin.admin_site)
        self._field = field.formfield(widget=widget, required=False)
        organizations = model_admin.admin_site.get_model_admin(field.remote_field.model)
        self._may_view: bool = organizations.has_view_permission(request)
        return []

    def has_output(self) -> bool:
        return self._may_view

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the context of the filter's form: its widget, and the other filters to keep."""
        others = [
            (name, value)
            for name, values in changelist.filter_params.items()
            if name != self.lookup_kwarg
            for value in values
        ]
        value = self.lookup_val[-1] if self.lookup_val else None
        attributes = {"id": "organization-filter", "aria-label": "Organization"}
        yield {
            "is_set": value is not None,
            "without": changelist.get_query_string(remove=[self.lookup_kwarg]),
            "others": others,
            "widget": self._field.widget.render(self.lookup_kwarg, value, attributes),
        }


class OverdueFilter(admin.SimpleListFilter):
    """Filter by schema refreshes that are overdue."""

    title = "schema refresh"
    parameter_name = "refresh"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("overdue", "Overdue")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[DataSource]
    ) -> QuerySet[DataSource]:
        assert isinstance(queryset, DataSourceQuerySet)
        return queryset.overdue_for_refresh() if self.value() == "overdue" else queryset
