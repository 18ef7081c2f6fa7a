"""Query parameters that lists are filtered by."""

from typing import Any

import django_filters
from django import forms
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError

from rivergen.names import normalized


class FilterBackend(DjangoFilterBackend):
    """Filter by query parameters; each error is a sentence that may quote any text.

    django-filter itself fails at a sentence with a `%` that is not meant for formatting.
    """

    raise_exception = False

    def get_filterset(self, request: Any, queryset: Any, view: Any) -> Any:
        filterset = super().get_filterset(request, queryset, view)
        if filterset is not None and not filterset.is_valid():
            raise ValidationError({name: [*errors] for name, errors in filterset.errors.items()})
        return filterset


class NotEmptyMixin:
    """Refuse an empty parameter, such as `?type=`."""

    def clean(self, value: Any) -> Any:
        if value == "":
            raise forms.ValidationError("Must not be empty.")
        return super().clean(value)  # type: ignore[misc]


class NameField(NotEmptyMixin, forms.CharField):
    """A name, in the form in which names are stored."""

    def clean(self, value: Any) -> Any:
        return super().clean(value and normalized(value))


class NameFilter(django_filters.Filter):
    """Filter by a whole name."""

    field_class = NameField


def described(filter_: Any, schema: dict[str, Any], words: str, *, repeats: int = 0) -> Any:
    """Attach the JSON schema and the description of a parameter to its filter.

    `repeats`: how often the parameter may be given; 0 means once.
    """
    if repeats:
        schema = {"type": "array", "items": schema, "maxItems": repeats}
    return extend_schema_field({**schema, "description": words})(filter_)


def by_name(
    words: str, max_length: int, kind: type[NameFilter] = NameFilter, **options: Any
) -> Any:
    """Return the filter of a parameter for names, with its description."""
    schema = {"type": "string", "minLength": 1, "maxLength": max_length, "format": "name"}
    return described(kind(max_length=max_length, **options), schema, words)
