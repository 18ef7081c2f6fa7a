"""Tables on a terminal."""

from collections.abc import Iterator, Sequence


def format_table(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield one line per row, in aligned columns; the first row has the titles.

    Control characters in a cell are replaced: a name could move the cursor.
    """
    texts = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def printable(text: str) -> str:
    """Replace each unprintable character by a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)
