"""The filters of `GET /data-sources` (contract, section 5)."""

import re
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.http import QueryDict
from drf_spectacular.utils import extend_schema_field

from datasources.models import DataSource
from datasources.models.querysets import DataSourceQuerySet
from datasources.models.validators import TAG_MAX_LENGTH

NO_NULL = r"^[^\u0000]*$"
# Each word is compared with every row that matches the words before it.
SEARCH_MAX_LENGTH = 100
ID_MAX_DIGITS = 18
RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class NotEmptyMixin:
    """Refuse an empty parameter, such as `?type=`."""

    def clean(self, value: Any) -> Any:
        if value == "":
            raise forms.ValidationError("Must not be empty.")
        return super().clean(value)  # type: ignore[misc]


class ChoiceField(NotEmptyMixin, django_filters.fields.ChoiceField):
    """A parameter that is one of the choices, in their exact spelling."""


class ChoiceFilter(django_filters.ChoiceFilter):
    """Filter by a field with choices."""

    field_class = ChoiceField


class IdField(NotEmptyMixin, forms.CharField):
    """An id in ASCII digits, as in a path; Django's IntegerField also takes `1_0`, `1.0`, `１`."""

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) <= ID_MAX_DIGITS):
            raise forms.ValidationError("Must be a whole number.")
        return int(value)


@extend_schema_field({"type": "integer", "minimum": 0, "maximum": 10**ID_MAX_DIGITS - 1})
class IdFilter(django_filters.Filter):
    """Filter by the id of a related row, such as the workspace."""

    field_class = IdField


class TimeField(NotEmptyMixin, forms.CharField):
    """A time with a UTC offset (RFC 3339); without an offset it would be ambiguous."""

    def to_python(self, value: Any) -> datetime | None:  # type: ignore[override]
        if value is None:
            return None
        try:
            if RFC_3339.fullmatch(value):
                # Convert to UTC: RFC 3339 allows offsets of 16 hours and more, PostgreSQL does not.
                return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (OverflowError, ValueError):
            pass
        raise forms.ValidationError("Must be a time such as 2024-12-01T11:00:00Z.")


@extend_schema_field({"type": "string", "format": "date-time"})
class TimeFilter(django_filters.Filter):
    """Filter by a comparison with a time."""

    field_class = TimeField


class TagListField(forms.CharField):
    """A parameter that may be repeated."""

    widget = forms.MultipleHiddenInput

    def clean(self, value: list[str] | None) -> list[str]:
        tags = [super(TagListField, self).clean(tag) for tag in value or []]
        if "" in tags:
            raise forms.ValidationError("Must not be empty.")
        return tags


@extend_schema_field({"type": "string", "pattern": NO_NULL, "maxLength": SEARCH_MAX_LENGTH})
class SearchFilter(django_filters.CharFilter):
    """Search for words."""


@extend_schema_field(
    {
        "type": "array",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": TAG_MAX_LENGTH,
            "pattern": NO_NULL,
            "format": "tag",
        },
    }
)
class TagFilter(django_filters.Filter):
    """Filter by tags: `?tag=a&tag=b` finds the data sources that have both."""

    field_class = TagListField

    def filter(self, qs: Any, value: list[str]) -> DataSourceQuerySet:
        return qs.tagged(value) if value else qs


class DataSourceFilter(django_filters.FilterSet):
    """All filters of the list. An invalid value is 400."""

    search = SearchFilter(method="filter_search", max_length=SEARCH_MAX_LENGTH)
    type = ChoiceFilter(choices=DataSource.Type.choices)
    status = ChoiceFilter(choices=DataSource.Status.choices)
    tag = TagFilter(max_length=TAG_MAX_LENGTH)
    workspace_id = IdFilter()
    organization_id = IdFilter()
    credentials_status = ChoiceFilter(choices=DataSource.CredentialsStatus.choices)
    updated_after = TimeFilter("updated_at", lookup_expr="gt")
    updated_before = TimeFilter("updated_at", lookup_expr="lt")

    class Meta:
        model = DataSource
        fields: list[Any] = []

    def __init__(self, data: QueryDict, *args: Any, **kwargs: Any) -> None:
        # The base class copies every filter and builds a form of all for each request.
        filters = type(self).base_filters
        self.base_filters = OrderedDict((name, filters[name]) for name in filters if name in data)
        super().__init__(data, *args, **kwargs)

    def filter_search(
        self, queryset: DataSourceQuerySet, name: str, value: str
    ) -> DataSourceQuerySet:
        """Return the rows that have all these words in one of the searched fields."""
        return queryset.search(value)
