"""Tables in a terminal."""

from collections.abc import Iterator, Sequence


def lines_of(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Give a line for each row, its cells below each other; the first row has the titles.

    What a name has that would move the cursor, or worse, is shown as a question mark.
    """
    texts = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def printable(text: str) -> str:
    """Put a question mark for each character that does not show."""
    return "".join(character if character.isprintable() else "?" for character in text)
