"""The rule for new passwords that Django lacks: they are more than words of this service."""

import re
from typing import Any

from django.core.exceptions import ValidationError

# Listed in docs/sign-in.md.
CONTEXT_WORDS = ("rivergen", "datasource", "database", "password", "admin", "editor", "owner")
CONTEXT_WORD = re.compile("|".join(CONTEXT_WORDS), re.IGNORECASE)
OTHER_CHARACTERS_MIN = 8
RULE = "A password needs 8 characters besides words such as rivergen, database or admin."


class ContextWordsValidator:
    """Refuse passwords that are little more than words of this service (`rivergen2026!`)."""

    def validate(self, password: str, user: Any = None) -> None:
        if len(CONTEXT_WORD.sub("", password)) < OTHER_CHARACTERS_MIN <= len(password):
            raise ValidationError(RULE)

    def get_help_text(self) -> str:
        return RULE
