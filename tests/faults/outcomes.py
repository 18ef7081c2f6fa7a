"""What came of a fault, and whether it is what clients may expect."""

from collections import Counter
from dataclasses import dataclass, field

from tests.faults.clients import Ledger

RECOVERY_SECONDS_MAX = 2
# A machine that keeps silent is out of reach after 5; behind a pooler, a request may have waited as
# long for one of its connections.
ANSWER_SECONDS_MAX = 14


@dataclass
class Outcome:
    """What clients saw of a fault that was repeated some times."""

    cycles: int
    answers: Counter[int] = field(default_factory=Counter)
    # From when the fault was over to the first change that was acknowledged, in seconds.
    recovered: list[float] = field(default_factory=list)
    # How long the slowest answer took, in seconds.
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
        """Judge what the clients saw; `may_drop`: connections may have ended without an answer."""
        outcome = cls(cycles, ledger.answers, recovered, ledger.slowest, lost)
        outcome.problems += [f"{count} times {text}" for text, count in ledger.wrong.items()]
        if lost:
            outcome.problems.append(f"{lost} acknowledged changes are lost")
        if ledger.answers[0] and not may_drop:
            outcome.problems.append(f"{ledger.answers[0]} requests had no answer")
        if max(recovered, default=0) > RECOVERY_SECONDS_MAX:
            outcome.problems.append(f"the first good answer took {max(recovered):.1f} s")
        if ledger.slowest > ANSWER_SECONDS_MAX:
            outcome.problems.append(f"an answer took {ledger.slowest:.1f} s")
        return outcome

    def line(self, name: str) -> str:
        """Give a row of the table."""
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
