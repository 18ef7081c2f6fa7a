"""Kinds of model fields that data sources use."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from datasources.models.validators import validate_text
from rivergen.names import normalized


class TagsField(ArrayField):
    """Tags, each stored as `normalized` returns it."""

    def clean(self, value: Any, model_instance: Any) -> Any:
        if isinstance(value, list | tuple):
            value = [normalized(tag) if isinstance(tag, str) else tag for tag in value]
        return super().clean(value, model_instance)


class TrimmedCharField(models.CharField):
    """Text that is stored without surrounding white space."""

    def clean(self, value: Any, model_instance: Any) -> Any:
        # Strip here, not in to_python: Django also calls to_python each time it writes a value.
        return super().clean(value.strip() if isinstance(value, str) else value, model_instance)


def text_field(max_length: int, *validators: Any, **options: Any) -> models.CharField:
    """Return a field for optional text: null if there is none, never an empty string."""
    return models.CharField(
        max_length=max_length,
        null=True,
        blank=True,
        default=None,
        validators=[validate_text, *validators],
        **options,
    )


def number_field(
    low: int, high: int, default: int | None = None, *, null: bool = False, help_text: str = ""
) -> models.IntegerField:
    """Return a field for a whole number from `low` to `high`."""
    return models.IntegerField(
        null=null,
        blank=null,
        default=default,
        help_text=help_text,
        validators=[MinValueValidator(low), MaxValueValidator(high)],
    )


def forget_author(collector: Any, field: Any, sub_objs: Any, using: str) -> None:
    """Clear the author of data sources whose user is deleted, and mark that they read otherwise.

    `on_delete` of a foreign key to a user. The version of these data sources stays the same.
    """
    # Mark first: afterwards the rows no longer refer to the user, and the query finds none.
    collector.add_field_update(
        field.model._meta.get_field("has_changed_within_version"), True, sub_objs
    )
    models.SET_NULL(collector, field, sub_objs, using)


forget_author.lazy_sub_objs = True  # type: ignore[attr-defined]  # Django reads no row for it
