"""Base serializers: strict input and fast output.

Strict means: no conversion between JSON types, no unknown names, and all errors at once (contract,
sections 3 and 4).
"""

import copy
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, NamedTuple

from rest_framework import serializers

from rivergen.names import NameField, normalized
from rivergen.strict_fields import BOOLEAN, FRACTION, TEXT, WHOLE_NUMBER

LONGEST_NAME_WORTH_A_SUGGESTION = 64
MOST_UNKNOWN_NAMES_REPORTED = 50

# Fields that show a value of the model unchanged: text, numbers and JSON.
SHOWN_AS_STORED = (
    *(serializers.BooleanField, serializers.CharField, serializers.ChoiceField),
    *(serializers.DictField, serializers.IntegerField, serializers.ListField),
)


class ShownField(NamedTuple):
    """How one field of a row is read and shown."""

    name: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] | None  # None: shown unchanged


def writer(field: serializers.Field) -> Callable[[Any], Any] | None:
    """Return the function by which a field shows a value; None if it shows it unchanged."""
    if isinstance(field, SHOWN_AS_STORED):
        return None
    return utc_text if isinstance(field, serializers.DateTimeField) else field.to_representation


def utc_text(moment: datetime) -> str:
    """Return a time as the API shows it: ISO 8601, in UTC, with a Z."""
    return moment.astimezone(UTC).isoformat().removesuffix("+00:00") + "Z"


class OutputSerializer(serializers.ModelSerializer):
    """A fast serializer for output only.

    DRF builds the fields for each response, and resolves the source of each field for each row.
    Here both are done once per class, so the fields must not depend on the request.
    """

    @classmethod
    @functools.cache
    def shown_fields(cls) -> list[ShownField]:
        """Return how each field is shown, in order."""
        return [
            ShownField(name, attrgetter(field.source or name), writer(field))
            for name, field in cls().fields.items()
        ]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown = {}
        for name, read, write in self.shown_fields():
            value = read(instance)
            shown[name] = value if write is None or value is None else write(value)
        return shown


class StrictCharField(serializers.CharField):
    """A JSON string, kept unchanged; DRF's field also accepts numbers, and trims."""

    default_error_messages = {"invalid": TEXT.error}

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        # DRF would first write a list or an object out as text, which may recurse too deeply.
        if type(data) in (list, dict):
            self.fail("invalid")
        return super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, TEXT.of):
            self.fail("invalid")
        text = super().to_internal_value(data)
        # Check the length before the validators, whose work grows with it: DRF runs them all.
        if self.max_length is not None and len(text) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return text


class StrictNameField(StrictCharField):
    """A name, in the form in which names are stored (`rivergen.names`).

    A name that is stored already is not judged: it may be older than the rules for names.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trim_whitespace": True, **kwargs})

    def run_validation(self, data: Any = serializers.empty) -> Any:
        stored = getattr(getattr(self.parent, "instance", None), self.source or "", None)
        return data if data == stored and isinstance(data, str) else super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        # Names in ASCII need no more than trimming.
        is_other = isinstance(data, str) and not data.isascii()
        return super().to_internal_value(normalized(data) if is_other else data)


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer; DRF's field also accepts `"5433"`, `5433.0` and `true`."""

    default_error_messages = {"invalid": WHOLE_NUMBER.error, "float": FRACTION}

    def to_internal_value(self, data: Any) -> int:
        if type(data) is float:
            self.fail("float")
        if type(data) is not WHOLE_NUMBER.of:
            self.fail("invalid")
        return data


class StrictBooleanField(serializers.BooleanField):
    """A JSON true or false; DRF's field also accepts `"yes"` and `1`."""

    default_error_messages = {"invalid": BOOLEAN.error}

    def to_internal_value(self, data: Any) -> bool:
        if type(data) is not BOOLEAN.of:
            self.fail("invalid")
        return data


class StrictChoiceField(serializers.ChoiceField):
    """One of a few JSON strings; the error lists them."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in self.choices:
            names = ", ".join(map(str, self.choices))
            raise serializers.ValidationError(f"Must be one of: {names}.")
        return data


class StrictFieldsMixin:
    """Validate the fields that were sent, refuse unknown names, and report all errors at once.

    Serializer fields are built once per class; an instance copies those that the body names.
    `refused_names` are known names that cannot be written; `refuse` raises their errors.
    """

    refused_names: Collection[str] = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # DRF's shows the data, which may be secret

    @classmethod
    @functools.cache
    def class_fields(cls) -> dict[str, serializers.Field]:
        """Return all fields by name. They are shared: do not bind or change them."""
        return super().get_fields(cls())  # type: ignore[misc]

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = self.class_fields()
        sent = getattr(self, "initial_data", fields)
        return {name: copy.copy(field) for name, field in fields.items() if name in sent}

    def to_internal_value(self, data: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        unknown: list[str] = []
        for name, value in data.items():
            field = self.fields.get(name)  # type: ignore[attr-defined]
            try:
                if field is not None and not field.read_only:
                    values[field.source] = field.run_validation(value)
                elif name in self.refused_names:
                    self.refuse(name, value)
                else:
                    unknown.append(name)
                    if len(unknown) <= MOST_UNKNOWN_NAMES_REPORTED:
                        self.refuse(name, value)
            except serializers.ValidationError as error:
                errors[name[:LONGEST_NAME_WORTH_A_SUGGESTION]] = error.detail
        if unknown:
            add_unreported(errors, unknown)
        if not self.partial:  # type: ignore[attr-defined]
            for name, field in self.class_fields().items():
                if field.required and not field.read_only and name not in data:
                    errors[name] = ["This field is required."]
        self.add_errors(values, errors)
        if errors:
            raise serializers.ValidationError(errors)
        return values

    def refuse(self, name: str, value: Any) -> None:
        """Raise ValidationError (400) for a name that cannot be written."""
        raise serializers.ValidationError(unknown_name(name, self.class_fields()))

    def add_errors(self, values: dict[str, Any], errors: dict[str, list[Any]]) -> None:
        """Add errors, by name, about rules across the valid `values`; by default there are none."""


class StrictSerializer(StrictFieldsMixin, serializers.Serializer):
    """A strict serializer of declared fields."""


class StrictModelSerializer(StrictFieldsMixin, serializers.ModelSerializer):
    """A strict serializer of model fields, with their limits."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        **{
            model_field: strict_field
            for model_field, field in serializers.ModelSerializer.serializer_field_mapping.items()
            for strict_field in (StrictCharField, StrictIntegerField, StrictBooleanField)
            if field is strict_field.__base__
        },
        NameField: StrictNameField,
    }
    serializer_choice_field = StrictChoiceField

    def build_standard_field(self, field_name: str, model_field: Any) -> Any:
        field_class, kwargs = super().build_standard_field(field_name, model_field)
        if kwargs.get("allow_null"):
            kwargs.pop("allow_blank", None)  # null clears the field, so "" is refused
        return field_class, kwargs


def unknown_names(
    names: Iterable[str], known: Collection[str], what: str = "field"
) -> dict[str, list[str]]:
    """Return an error for each unknown name. Long names are cut, and at most 50 are reported."""
    names = [*names]
    errors = {
        name[:LONGEST_NAME_WORTH_A_SUGGESTION]: [unknown_name(name, known, what)]
        for name in names[:MOST_UNKNOWN_NAMES_REPORTED]
    }
    add_unreported(errors, names, what)
    return errors


def add_unreported(errors: dict[str, Any], unknown: list[str], what: str = "field") -> None:
    """Add to the last unknown name that is reported how many more there are."""
    more = len(unknown) - MOST_UNKNOWN_NAMES_REPORTED
    if more > 0:
        last = unknown[MOST_UNKNOWN_NAMES_REPORTED - 1][:LONGEST_NAME_WORTH_A_SUGGESTION]
        errors[last] = [*errors[last], f"There are {more:,} more unknown {what}s."]


def unknown_name(name: str, known: Iterable[str], what: str = "field") -> str:
    """Return the error for an unknown name, with the known name that was probably meant."""
    sentence = f"Unknown {what}."
    if len(name) <= LONGEST_NAME_WORTH_A_SUGGESTION:
        for match in get_close_matches(name, known, n=1):
            sentence += f" Did you mean {match}?"
    return sentence
