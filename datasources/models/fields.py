"""Kinds of model fields that data sources use."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction

from datasources.models.validators import clean_tags, validate_metadata
from rivergen.strict_fields import StrictCharField, StrictField, StrictIntegerField


class TagsField(StrictField, ArrayField):
    """An array of different strings, each stored without surrounding white space."""

    django_path = "django.contrib.postgres.fields.ArrayField"

    def clean(self, value: Any, model_instance: Any) -> list[str]:
        return clean_tags(value)


class MetadataField(StrictField, models.JSONField):
    """A JSON object."""

    django_path = "django.db.models.JSONField"

    def clean(self, value: Any, model_instance: Any) -> Any:
        validate_metadata(value)
        return value


def text_field(max_length: int, *validators: Any, **options: Any) -> StrictCharField:
    """Return a field for optional text: null if there is none, never an empty string."""
    return StrictCharField(
        max_length=max_length,
        null=True,
        blank=True,
        default=None,
        validators=validators,
        **options,
    )


def number_field(
    low: int, high: int, default: int | None = None, *, null: bool = False, help_text: str = ""
) -> StrictIntegerField:
    """Return a field for a whole number from `low` to `high`."""
    return StrictIntegerField(
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
    # In the order in which others lock many data sources.
    with transaction.atomic(using):
        list(sub_objs.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    # Mark first: afterwards the rows no longer refer to the user, and the query finds none.
    collector.add_field_update(
        field.model._meta.get_field("has_changed_within_version"), True, sub_objs
    )
    models.SET_NULL(collector, field, sub_objs, using)


forget_author.lazy_sub_objs = True  # type: ignore[attr-defined]  # Django reads no row for it
