"""What is wrong with a file of declarations, and where."""

from typing import NamedTuple

Path = tuple[str | int, ...]
"""How a value is reached from the top of the file, such as `("data_sources", 2, "port")`."""


class Problem(NamedTuple):
    """One mistake."""

    line: int | None
    field: str
    message: str

    def __str__(self) -> str:
        place = [f"line {self.line}"] if self.line else []
        return ": ".join([*place, *([self.field] if self.field else []), self.message])


class DeclarationError(Exception):
    """A file of declarations cannot be applied; nothing of it was."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def name_of(path: Path) -> str:
    """Give a path as people write it: `data_sources[2].port`."""
    text = ""
    for part in path:
        dot = "." if text else ""
        text += f"[{part}]" if isinstance(part, int) else f"{dot}{part}"
    return text
