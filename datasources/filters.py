"""The filters of `GET /data-sources` (contract, section 5)."""

import re
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.db.models import F
from django.http import QueryDict

from datasources.models import DataSource
from datasources.models.querysets import DataSourceQuerySet
from datasources.models.validators import TAG_MAX_LENGTH, TAGS_MAX_COUNT, validate_host
from rivergen.hosts import MAX_LENGTH as HOST_MAX_LENGTH
from rivergen.hosts import spellings
from rivergen.http.filters import NameFilter, NotEmptyMixin, by_name, described
from rivergen.postgresql.lookups import AnyOf

NO_NULL = r"^[^\x00]*$"
# Each word is compared with every row that matches the words before it.
SEARCH_MAX_LENGTH = 100
NAME_MAX_LENGTH = 255
REPEATS_MAX = 200
ID_MAX_DIGITS = 18
TIME_SCHEMA = {"type": "string", "format": "date-time"}
ID_SCHEMA = {
    "type": "integer",
    "format": "int64",
    "minimum": 0,
    "maximum": 10**ID_MAX_DIGITS - 1,
}
RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class ChoiceField(NotEmptyMixin, django_filters.fields.ChoiceField):
    """A parameter that is one of the choices, in their exact spelling."""

    def validate(self, value: Any) -> None:
        if value and not self.valid_value(value):
            choices: Any = self.choices
            names = ", ".join(str(name) for name, _ in choices if name)
            raise forms.ValidationError(f"Must be one of: {names}.")


class ChoiceFilter(django_filters.ChoiceFilter):
    """Filter by a field with choices."""

    field_class = ChoiceField


class IdField(NotEmptyMixin, forms.CharField):
    """An id in ASCII digits, as in a path; Django's IntegerField also takes `1_0`, `1.0`, `１`."""

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        if value is None:
            return None
        if not (value.isascii() and value.isdecimal() and len(value) <= ID_MAX_DIGITS):
            raise forms.ValidationError(f"Must be an id: 1 to {ID_MAX_DIGITS} digits.")
        return int(value)


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
        sentence = "Must be a time such as 2024-12-01T11:00:00Z; in a URL, + is written %2B."
        raise forms.ValidationError(sentence)


class TimeFilter(django_filters.Filter):
    """Filter by a comparison with a time."""

    field_class = TimeField


class DataSourceNameFilter(NameFilter):
    """Filter by the whole name, ignoring case as the unique constraint does."""

    def filter(self, qs: Any, value: str | None) -> DataSourceQuerySet:
        return qs.with_name(value) if value else qs


class HostField(NotEmptyMixin, forms.CharField):
    """A host name or an IP address."""

    default_validators = [validate_host]


class HostFilter(django_filters.Filter):
    """Filter by the whole host, ignoring case."""

    field_class = HostField

    def filter(self, qs: Any, value: str | None) -> DataSourceQuerySet:
        return qs.with_host(*spellings(value)) if value else qs


class RepeatedMixin:
    """Clean each value of a parameter that may be repeated, and return the list of them."""

    widget = forms.MultipleHiddenInput
    repeats_max = REPEATS_MAX

    def clean(self, value: list[str] | None) -> list[Any]:
        values = value or []
        if len(values) > self.repeats_max:
            raise forms.ValidationError(f"Must not be given more than {self.repeats_max} times.")
        return [super(RepeatedMixin, self).clean(one) for one in values]  # type: ignore[misc]


class ChoicesField(RepeatedMixin, ChoiceField):
    """A repeatable parameter whose values are choices."""


class IdsField(RepeatedMixin, IdField):
    """A repeatable parameter whose values are ids."""


class TagsField(RepeatedMixin, NotEmptyMixin, forms.CharField):
    """A repeatable parameter whose values are tags."""

    repeats_max = TAGS_MAX_COUNT


class AnyChoiceFilter(django_filters.Filter):
    """Filter by a field with choices: `?type=a&type=b` finds the rows with either."""

    field_class = ChoicesField

    def __init__(self, choices: Any, **options: Any) -> None:
        super().__init__(lookup_expr="in", choices=choices, **options)


class AnyIdFilter(django_filters.Filter):
    """Filter by ids: `?id=1&id=2` finds the rows with either id."""

    field_class = IdsField

    def filter(self, qs: Any, value: list[int]) -> Any:
        return qs.filter(AnyOf(F("pk"), value)) if value else qs


class TagFilter(django_filters.Filter):
    """Filter by tags: `?tag=a&tag=b` finds the data sources that have both."""

    field_class = TagsField

    def filter(self, qs: Any, value: list[str]) -> DataSourceQuerySet:
        return qs.tagged(value) if value else qs


class DataSourceFilter(django_filters.FilterSet):
    """All filters of the list. An invalid value is 400."""

    search = described(
        django_filters.CharFilter(method="filter_search", max_length=SEARCH_MAX_LENGTH),
        {"type": "string", "pattern": NO_NULL, "maxLength": SEARCH_MAX_LENGTH},
        "With each of these words in the name, the description, the host or the database name.",
    )
    name = by_name(
        "With exactly this name, ignoring case. In each workspace there is at most one.",
        NAME_MAX_LENGTH,
        DataSourceNameFilter,
    )
    host = described(
        HostFilter(),
        {"type": "string", "minLength": 1, "maxLength": HOST_MAX_LENGTH, "format": "host"},
        "With exactly this `host`, ignoring case. Either form of an internationalized name finds "
        "both. Hosts in connection strings are not searched.",
    )
    id = described(
        AnyIdFilter(),
        ID_SCHEMA,
        "With this id. Repeat it, as in `?id=1&id=2`, for any of these; others are left out "
        "without an error.",
        repeats=REPEATS_MAX,
    )
    type = described(
        AnyChoiceFilter(DataSource.Type.choices),
        {"type": "string", "enum": DataSource.Type.values},
        "Of this type. Repeat it, as in `?type=mysql&type=mariadb`, for any of these.",
        repeats=REPEATS_MAX,
    )
    status = described(
        AnyChoiceFilter(DataSource.Status.choices),
        {"type": "string", "enum": DataSource.Status.values},
        "With this status. Repeat it, as in `?status=error&status=inactive`, for any of these.",
        repeats=REPEATS_MAX,
    )
    tag = described(
        TagFilter(max_length=TAG_MAX_LENGTH),
        {
            "type": "string",
            "minLength": 1,
            "maxLength": TAG_MAX_LENGTH,
            "pattern": NO_NULL,
            "format": "tag",
        },
        "With this tag. Repeat it, as in `?tag=a&tag=b`, for those that have all of these.",
        repeats=TAGS_MAX_COUNT,
    )
    workspace_id = described(IdFilter(), ID_SCHEMA, "In this workspace.")
    organization_id = described(IdFilter(), ID_SCHEMA, "Of this organization.")
    credentials_status = described(
        ChoiceFilter(choices=DataSource.CredentialsStatus.choices),
        {"type": "string", "enum": DataSource.CredentialsStatus.values},
        "Whose credentials are in this state.",
    )
    schema_status = described(
        ChoiceFilter(choices=DataSource.SchemaStatus.choices),
        {"type": "string", "enum": DataSource.SchemaStatus.values},
        "Whose schema is in this state.",
    )
    updated_after = described(
        TimeFilter("updated_at", lookup_expr="gt"),
        TIME_SCHEMA,
        "Updated after this time, as in `2024-12-01T11:00:00Z`.",
    )
    updated_before = described(
        TimeFilter("updated_at", lookup_expr="lt"),
        TIME_SCHEMA,
        "Updated before this time, as in `2024-12-01T11:00:00Z`.",
    )

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
