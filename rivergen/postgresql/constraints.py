"""Violations of database constraints, as errors of validation."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.db import IntegrityError


@contextmanager
def unique_violation_as_validation_error(
    constraint: str, field: str, message: str
) -> Iterator[None]:
    """Raise ValidationError (400) for `field` if the block violates this unique constraint.

    Only the database can tell when two requests race for a value.
    """
    try:
        yield
    except IntegrityError as error:
        if constraint not in str(error):
            raise  # with its cause: by that, `rivergen.http.responses` chooses the status
        raise ValidationError({field: ValidationError(message, code="unique")}) from None
