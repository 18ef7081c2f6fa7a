"""Counting changes while they are read."""

from collections import Counter
from collections.abc import Iterable, Iterator

from datasources.schemas.snapshots.changes import Change, ChangeKind


class Summary:
    """An iterator over changes that counts them, because there may be too many to hold."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._changes = iter(changes)
        self._counts: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Change]:
        for change in self._changes:
            self._counts[change["change"]] += 1
            self._counts["breaks_readers"] += change["breaks_readers"]
            yield change

    def complete(self) -> dict[str, int]:
        """Read the remaining changes. Return how many changes of each kind there were in total."""
        for _ in self:
            pass
        return {name: self._counts[name] for name in (*ChangeKind.values, "breaks_readers")}
