"""What `GET /data-sources` can be narrowed by (contract, section 5)."""

from typing import Any

import django_filters
from django import forms
from drf_spectacular.utils import extend_schema_field

from datasources.models import DataSource, DataSourceQuerySet


class TagListField(forms.CharField):
    """A parameter that may be given several times."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: list[str] | None) -> list[str]:
        return [tag for item in value or [] if (tag := super(TagListField, self).clean(item))]


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class TagFilter(django_filters.Filter):
    """`?tag=a&tag=b`: those that have all of these tags."""

    field_class = TagListField

    def filter(self, qs: DataSourceQuerySet, value: list[str]) -> DataSourceQuerySet:
        return qs.tagged(value) if value else qs


class IdFilter(django_filters.Filter):
    """An id, as a whole number."""

    field_class = forms.IntegerField


class DataSourceFilter(django_filters.FilterSet):
    """The filters of the list; an invalid value is 400."""

    search = django_filters.CharFilter(method="filter_search")
    type = django_filters.ChoiceFilter(choices=DataSource.Type.choices)
    status = django_filters.ChoiceFilter(choices=DataSource.Status.choices)
    tag = TagFilter()
    workspace_id = IdFilter()
    organization_id = IdFilter()
    credentials_status = django_filters.ChoiceFilter(choices=DataSource.CredentialsStatus.choices)
    updated_after = django_filters.IsoDateTimeFilter("updated_at", lookup_expr="gt")
    updated_before = django_filters.IsoDateTimeFilter("updated_at", lookup_expr="lt")

    class Meta:
        model = DataSource
        fields: list[Any] = []

    def filter_search(
        self, queryset: DataSourceQuerySet, name: str, value: str
    ) -> DataSourceQuerySet:
        """Pass the words on to the queryset, which knows what is searched."""
        return queryset.search(value)
