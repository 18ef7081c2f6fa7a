"""Query parameters that lists are filtered by."""

from typing import Any

from django import forms


class NotEmptyMixin:
    """Refuse an empty parameter, such as `?type=`."""

    def clean(self, value: Any) -> Any:
        if value == "":
            raise forms.ValidationError("Must not be empty.")
        return super().clean(value)  # type: ignore[misc]


class NameField(NotEmptyMixin, forms.CharField):
    """A name, trimmed as stored names are."""

    def clean(self, value: Any) -> Any:
        return super().clean(value and value.strip())
