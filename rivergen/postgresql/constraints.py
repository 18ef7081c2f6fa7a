"""What a violated constraint of the database means to the caller."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ValidationError
from django.db import IntegrityError


@contextmanager
def unique(constraint: str, field: str, message: str) -> Iterator[None]:
    """Raise ValidationError (400) for `field` if the block violates this unique constraint.

    Only the database can say so when two requests race for a value.
    """
    try:
        yield
    except IntegrityError as error:
        if constraint not in str(error):
            raise
        raise ValidationError({field: ValidationError(message, code="unique")}) from None
