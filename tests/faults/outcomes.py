"""The outcome of a fault, and the problems in it."""

from collections import Counter
from dataclasses import dataclass, field

from tests.faults.clients import Ledger

RECOVERY_SECONDS_MAX = 2
# A silent server times out after 5 s; behind a pooler, a request may first have waited as long for
# a connection of the pool.
ANSWER_SECONDS_MAX = 14


@dataclass
class Outcome:
    """What clients saw during the cycles of a fault."""

    cycles: int
    answers: Counter[int] = field(default_factory=Counter)
    # Seconds from the end of each fault to the next acknowledged change.
    recovered: list[float] = field(default_factory=list)
    # Seconds of the slowest response.
    slowest: float = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        ledger: Ledger,
        *,
        cycles: int,
        recovered: list[float],
        lost: int,
        may_drop: bool = False,
    ) -> "Outcome":
        """Return the outcome with its problems; `may_drop`: requests may have no response."""
        outcome = cls(cycles, ledger.answers, recovered, ledger.slowest, lost)
        outcome.problems += [f"{count} times {text}" for text, count in ledger.wrong.items()]
        if lost:
            outcome.problems.append(f"{lost} acknowledged changes were lost")
        if ledger.answers[0] and not may_drop:
            outcome.problems.append(f"{ledger.answers[0]} requests had no response")
        if max(recovered, default=0) > RECOVERY_SECONDS_MAX:
            outcome.problems.append(f"recovery took {max(recovered):.1f} s")
        if ledger.slowest > ANSWER_SECONDS_MAX:
            outcome.problems.append(f"a response took {ledger.slowest:.1f} s")
        return outcome

    def line(self, name: str) -> str:
        """Return the row of the table for a fault."""
        others = sum(self.answers.values()) - self.answers[200] - self.answers[503]
        recovered = f"{max(self.recovered):.2f} s" if self.recovered else ""
        return (
            f"{name:<34} {self.cycles:>6} {self.answers[200]:>9,} {self.answers[503]:>9,} "
            f"{others:>7,} {recovered:>9} {self.slowest:>7.1f} s {self.lost:>5}"
        )


HEADINGS = (
    f"{'fault':<34} {'cycles':>6} {'200':>9} {'503':>9} {'others':>7} {'recovery':>9} "
    f"{'slowest':>9} {'lost':>5}"
)
