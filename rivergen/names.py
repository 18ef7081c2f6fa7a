"""Names that people read and tell apart: one form for those that look the same.

A name is stored in NFC (`Café` composed and decomposed are one name), and each white space in it is
a plain space. Characters that nobody sees are refused, except where they change what is seen:
joiners in emoji and in scripts that need them, the selectors of emoji, and the tags of flags.
"""

import re
import unicodedata
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from idna import valid_contextj

from rivergen.hosts import code_point
from rivergen.strict_fields import StrictCharField

# Longer text is no name, however it is normalized. The work grows faster than the text.
LONGEST = 4 * 255
WHITE_SPACE = re.compile(r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# What Unicode says to show as nothing (Default_Ignorable_Code_Point), controls, line separators,
# and the blanks that are letters or symbols.
INVISIBLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U00013430-\U00013440\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
JOINERS = "\u200c\u200d"
EMOJI_SELECTORS = "\ufe0e\ufe0f"
KEYCAP = "\u20e3"
# A black flag and the code of a region: England, Scotland, Wales.
FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")


def normalized(name: str) -> str:
    """Return a name as it is stored and looked up: in NFC, with plain spaces, and none around it.

    Text that is too long for a name is returned as it is.
    """
    if len(name) > LONGEST:
        return name
    return WHITE_SPACE.sub(" ", unicodedata.normalize("NFC", name)).strip()


def validate_visible(name: str) -> None:
    """Raise ValidationError (400) for the first character that nobody sees, and name it."""
    name = FLAG.sub("\U0001f3f4", name)
    for found in INVISIBLE.finditer(name):
        if not changes_what_is_seen(name, found.start()):
            letter = found[0]
            kind = "control" if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else "invisible"
            raise ValidationError(f"Has the {kind} character {code_point(letter)}. Remove it.")


validate_visible.json_schema = {"format": "name"}  # type: ignore[attr-defined]  # for openapi.json


def changes_what_is_seen(name: str, position: int) -> bool:
    """Return whether an invisible character changes how its neighbours are shown.

    Joiners do in Arabic and Indic scripts (RFC 5892, appendix A) and between emoji; the selectors
    of text and emoji do after a symbol and before the mark of a keycap.
    """
    letter, following = name[position], name[position + 1 : position + 2]
    preceding = name[:position].rstrip(EMOJI_SELECTORS)[-1:]
    if letter in JOINERS:
        if letter == "\u200d" and is_symbol(preceding) and is_symbol(following):
            return True
        try:
            return valid_contextj(name, position)
        except ValueError:  # beside a character that Unicode does not know
            return False
    if letter in EMOJI_SELECTORS:
        return following == KEYCAP or is_symbol(name[position - 1 : position])
    return False


def is_symbol(letter: str) -> bool:
    """Return whether a character may be an emoji, or the skin tone of one."""
    return not letter.isascii() and unicodedata.category(letter).startswith("S")


class NameFormField(forms.CharField):
    """A name as it is stored: its length, and duplicates within a form, are judged in this form.

    A stored name that is older than the rules, and is sent back as it was shown, has not changed.
    """

    def to_python(self, value: Any) -> Any:
        return normalized(super().to_python(value) or "")

    def has_changed(self, initial: Any, data: Any) -> bool:
        return data != initial and super().has_changed(initial, data)


class NameField(StrictCharField):
    """A name, stored as `normalized` returns it."""

    django_path = "rivergen.names.NameField"

    def formfield(self, **options: Any) -> Any:
        return super().formfield(**{"form_class": NameFormField, **options})

    def clean(self, value: Any, model_instance: Any) -> Any:
        # Not in to_python: Django also calls that each time it writes a value.
        return super().clean(normalized(value) if isinstance(value, str) else value, model_instance)

    def pre_save(self, model_instance: Any, add: bool) -> Any:
        value = super().pre_save(model_instance, add)
        if isinstance(value, str):
            value = normalized(value)
            setattr(model_instance, self.attname, value)
        return value
