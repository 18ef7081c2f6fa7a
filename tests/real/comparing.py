"""Counting what was compared, and what differs."""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any

KINDS = ("tables", "columns", "primary keys", "foreign keys", "indexes")

Facts = dict[str, dict[tuple[Hashable, ...], Any]]
"""What is known of each object, by kind and by the object's name."""

DIFFERENCES_SHOWN = 10


def no_facts() -> Facts:
    """Return facts without any object."""
    return {kind: {} for kind in KINDS}


class Tally:
    """The numbers of objects that were compared and that differ, by database and kind."""

    def __init__(self) -> None:
        self.compared: Counter[tuple[str, str]] = Counter()
        self.differing: Counter[tuple[str, str]] = Counter()
        self.sources: Counter[str] = Counter()
        self.differences: list[str] = []

    def add(self, database: str, source: str, ours: Facts, second: Facts) -> None:
        """Compare two readings of a source; an object that only one of them has differs."""
        self.sources[database] += 1
        for kind, found in second.items():
            self._add_kind(database, source, kind, ours.get(kind, {}), found)

    def _add_kind(
        self,
        database: str,
        source: str,
        kind: str,
        ours: Mapping[tuple[Hashable, ...], Any],
        second: Mapping[tuple[Hashable, ...], Any],
    ) -> None:
        names = ours.keys() | second.keys()
        self.compared[database, kind] += len(names)
        for name in sorted(names, key=repr):
            if ours.get(name) != second.get(name):
                self.differing[database, kind] += 1
                self.differences.append(
                    f"{database}, {source}: {kind[:-1]} {name}\n"
                    f"  read:      {ours.get(name)!r}\n  catalogue: {second.get(name)!r}"
                )

    def fail(self, database: str, source: str, reason: str) -> None:
        """Count a source that could not be read as a table that differs."""
        self.sources[database] += 1
        self.compared[database, "tables"] += 1
        self.differing[database, "tables"] += 1
        self.differences.append(f"{database}, {source}: {reason}")

    def table(self) -> str:
        """Return the numbers as a table, each cell "compared/differing"."""
        kinds = [kind for kind in KINDS if any(kind == key[1] for key in self.compared)]
        lines = [f"{'':22}{'sources':>8}" + "".join(f"{kind:>16}" for kind in kinds)]
        for database, sources in self.sources.items():
            cells = (
                f"{self.compared[database, kind]}/{self.differing[database, kind]}"
                for kind in kinds
            )
            lines.append(f"{database:22}{sources:>8}" + "".join(f"{cell:>16}" for cell in cells))
        total = f"{self.compared.total()} compared, {self.differing.total()} differ"
        return "\n".join([*lines, total])

    def shown_differences(self, maximum: int = DIFFERENCES_SHOWN) -> str:
        """Return the first differences, at most `maximum` of them."""
        rest = len(self.differences) - maximum
        return "\n".join([*self.differences[:maximum], *([f"and {rest} more"] if rest > 0 else [])])
