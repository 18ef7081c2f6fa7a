"""How many rows have been written, by the count that `world.count_changes` has begun."""

from typing import Any


def changes(cursor: Any) -> int:
    """Give how many rows have been written so far."""
    cursor.execute("SELECT number FROM fuzz_changes")
    return int(cursor.fetchone()[0])
