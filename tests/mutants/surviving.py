"""Mutants that may survive, and why."""

from tests.mutants.making import Mutant

# Path -> reason -> what the changed lines are before and after.
MAY_LIVE = {
    "datasources/credentials/mending.py": {
        "The end of a function returns None as well.": [("return None", "pass")],
    },
    "datasources/credentials/serializers.py": {
        "A field that may be null is null if its value is left out.": [
            (
                'unset = {"is_set": False, "confirmed": False, "set_at": None, '
                '"set_by_user_id": None}',
                'unset = {"is_set": False, "confirmed": False, "set_at": None, '
                '"XXset_by_user_idXX": None}',
            )
        ],
    },
    "datasources/schemas/snapshots/models.py": {
        "Other organizations are only read in vain: the caller looks up its own.": [
            (
                "contents = cls.objects.filter(organization__in=ids) if ids else cls.objects.all()",
                "contents = cls.objects.filter(organization__in=ids) if (ids) and False "
                "else cls.objects.all()",
            )
        ],
        "Any length that makes collisions improbable will do.": [
            (
                "return f'\"{self.number}-{digest[:16]}\"'",
                "return f'\"{self.number}-{digest[:17]}\"'",
            )
        ],
    },
}


def reason(mutant: Mutant) -> str:
    """Return why a mutant may survive, or an empty string."""
    change = mutant.before.strip(), mutant.after.strip()
    for why, changes in MAY_LIVE.get(mutant.path, {}).items():
        if change in changes:
            return why
    return ""
