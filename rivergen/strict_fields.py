"""Model fields that convert no value: one rule for API, admin, declarations, commands and shell.

Django's own take `"5433"`, `5433.5` and `true` for a port, and check no value that is empty:
null and `""` would reach the database. Serializers use the same types and sentences.
"""

import re
from typing import Any, NamedTuple

from django import forms
from django.core.exceptions import ValidationError
from django.db import models


class JSONType(NamedTuple):
    """A type of JSON: the class of its values, and the error about values of other types."""

    of: Any
    error: str


TEXT = JSONType(str, "Must be a string.")
WHOLE_NUMBER = JSONType(int, "Must be a whole number.")
BOOLEAN = JSONType(bool, "Must be true or false.")
FRACTION = "Must be a whole number, written without a fraction or an exponent."
BLANK = "This field may not be blank."
DIGITS = re.compile(r"\s*-?[0-9]+\s*", re.ASCII)


class WholeNumberField(forms.IntegerField):
    """A form field for a whole number in ASCII digits; Django's also takes `5.0` and `٥`."""

    def to_python(self, value: Any) -> int | None:
        if isinstance(value, str) and value.strip() and not DIGITS.fullmatch(value):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class StrictField(models.Field):
    """A model field whose `clean` refuses values of another JSON type, and null unless allowed.

    Migrations see `django_path`: the database knows no difference.
    """

    json_type: JSONType
    django_path: str

    @property
    def empty_values(self) -> list[None]:  # type: ignore[override]
        """The values that `Model.clean_fields` passes over."""
        return [None] if self.null else []

    def clean(self, value: Any, model_instance: Any) -> Any:
        """Return the value. Raises ValidationError (400)."""
        if value is not None and not self.fits(value):
            raise ValidationError(self.json_type.error, code="invalid")
        return super().clean(value, model_instance)

    def fits(self, value: Any) -> bool:
        """Return whether a value is of the JSON type; true is no number."""
        return type(value) is self.json_type.of

    def deconstruct(self) -> Any:
        name, _, arguments, options = super().deconstruct()
        return name, self.django_path, arguments, options


def validate_text(value: str) -> None:
    """Raise ValidationError for null characters and lone surrogates: PostgreSQL has none."""
    if "\0" in value:
        raise ValidationError("Null characters are not allowed.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError("Lone surrogates are not allowed.") from None


class StrictCharField(StrictField, models.CharField):
    """Text that PostgreSQL can store; "" is refused where null stands for no text."""

    json_type = TEXT
    django_path = "django.db.models.CharField"

    def clean(self, value: Any, model_instance: Any) -> Any:
        if isinstance(value, str):
            value = str.__str__(value)  # an enumeration or SafeString is stored as text
            if not value and (self.null or not self.blank):
                raise ValidationError(BLANK, code="blank")
            validate_text(value)
        return super().clean(value, model_instance)


class TrimmedCharField(StrictCharField):
    """Text that is stored without surrounding white space."""

    def clean(self, value: Any, model_instance: Any) -> Any:
        # Strip here, not in to_python: Django also calls to_python each time it writes a value.
        return super().clean(value.strip() if isinstance(value, str) else value, model_instance)


class StrictIntegerField(StrictField, models.IntegerField):
    """A whole number."""

    json_type = WHOLE_NUMBER
    django_path = "django.db.models.IntegerField"

    def formfield(self, **options: Any) -> Any:
        return super().formfield(**{"form_class": WholeNumberField, **options})


class StrictPositiveBigIntegerField(StrictIntegerField, models.PositiveBigIntegerField):
    """A whole number from 0 on, up to the largest that a column holds."""

    django_path = "django.db.models.PositiveBigIntegerField"


class StrictBooleanField(StrictField, models.BooleanField):
    """True or false."""

    json_type = BOOLEAN
    django_path = "django.db.models.BooleanField"
