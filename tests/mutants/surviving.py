"""Mutants that may survive, and why."""

from tests.mutants.making import Mutant

# Path -> reason -> what the changed line has before -> after.
MAY_LIVE: dict[str, dict[str, list[tuple[str, str]]]] = {}


def reason(mutant: Mutant) -> str:
    """Return why a mutant may survive, or an empty string."""
    change = mutant.before.strip(), mutant.after.strip()
    for why, changes in MAY_LIVE.get(mutant.path, {}).items():
        if change in changes:
            return why
    return ""
