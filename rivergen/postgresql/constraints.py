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
        raise_if_unique_violation(error, constraint, field, message)
        raise  # with its cause: `rivergen.http.responses` chooses the status by it


def raise_if_unique_violation(
    error: IntegrityError, constraint: str, field: str, message: str
) -> None:
    """Raise ValidationError (400) for `field` if `error` violates this unique constraint."""
    if constraint in str(error):
        raise ValidationError({field: ValidationError(message, code="unique")}) from None
