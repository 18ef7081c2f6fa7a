"""Problems in a file of declarations: what is wrong, and where."""

from typing import NamedTuple

KEY_MAX_LENGTH = 64
PARTS_MAX = 30
Path = tuple[str | int, ...]
"""The keys that lead from the top of the file to a value: `("data_sources", 2, "port")`."""


class Problem(NamedTuple):
    """One mistake in the file; `line` is None if the input was not text."""

    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        place = [f"line {self.line}"] if self.line else []
        return ": ".join([*place, *([self.field] if self.field else []), self.message])


class DeclarationError(Exception):
    """The declarations cannot be applied. Nothing was stored."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def name_of(path: Path) -> str:
    """Return a path as text, such as `data_sources[2].port`. Long keys are cut."""
    text = ""
    for part in path[:PARTS_MAX]:
        dot = "." if text else ""
        text += f"[{part}]" if isinstance(part, int) else f"{dot}{part[:KEY_MAX_LENGTH]}"
    return text
