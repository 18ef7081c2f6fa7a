"""Read the number of written rows, which the triggers of `world.count_changes` count."""

from typing import Any


def changes(cursor: Any) -> int:
    """Return the number of rows written so far."""
    cursor.execute("SELECT number FROM fuzz_changes")
    return int(cursor.fetchone()[0])
