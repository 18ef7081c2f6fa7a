"""How the lines of a CSV file are split into values, by its start.

DuckDB detects that as well, but takes whatever fits: a file with one line too long or too short
becomes a single column, and lines that do not fit are skipped.
"""

import csv
import io
import re
from typing import NamedTuple

from datasources.connections.failures import Code, ConnectionFailure

# Those of the second line are rare enough that a file with them deserves a warning.
USUAL_DELIMITERS = ",;\t|"
RARE_DELIMITERS = "\x1f\x01^~:"
REPEATED_DELIMITERS = "|^~:"
SIGNS_OF_NAMES = "_-. "
SCANNED_CHARACTERS = 128 * 1024
TITLE_LINES_MAX = 20
TITLE_CHARACTERS = 1_000
FIELD_CHARACTERS_MAX = 16 * 1024 * 1024  # the default of the module `csv` is 128 KiB
# The first line of a file may name the delimiter for Excel: sep=;
SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?[ \t]*(?:\r\n|\n|\r)", re.IGNORECASE)
COMMENT = re.compile(r"#[\s#!-]|#$")
TITLE = re.compile(r"#|.*\S\s+\S", re.DOTALL)
NUMBER = re.compile(r"\s*[+-]?[\d.,]+\s*%?\s*")


class Quoting(NamedTuple):
    """The character around values, and the one that escapes it inside them."""

    quote: str
    escape: str

    @property
    def mark(self) -> str:
        """Return the characters by which to recognize this quoting in a text."""
        return self.quote if self.quote == self.escape else self.escape + self.quote


QUOTINGS = (Quoting('"', '"'), Quoting('"', "\\"), Quoting("'", "'"))


class Row(NamedTuple):
    """The values of a row, and the line on which it begins, from 1."""

    line: int
    values: list[str]


class Layout(NamedTuple):
    """How to read a CSV file."""

    delimiter: str
    quoting: Quoting
    skipped_lines: int
    first_row: list[str]
    is_guess: bool = False


class Scan:
    """The rows of a text by one delimiter and quoting, without blank lines and first comments."""

    def __init__(self, text: str, delimiter: str, quoting: Quoting, skipped_lines: int = 0) -> None:
        self.delimiter = delimiter
        self.quoting = quoting
        self.rows: list[Row] = []
        self.error_line: int | None = None
        lines = io.StringIO(text, newline="")
        for _ in range(skipped_lines):
            lines.readline()
        csv.field_size_limit(FIELD_CHARACTERS_MAX)
        reader = csv.reader(
            lines,
            delimiter=delimiter,
            quotechar=quoting.quote,
            doublequote=quoting.quote == quoting.escape,
            escapechar=None if quoting.quote == quoting.escape else quoting.escape,
            strict=True,
        )
        line = skipped_lines + 1
        try:
            for values in reader:
                if values and (self.rows or not COMMENT.match(values[0])):
                    self.rows.append(Row(line, values))
                line = skipped_lines + reader.line_num + 1
        except csv.Error:
            self.error_line = line
        self.start = self._find_start()
        """The index of the first row after the title lines."""
        self.width = len(self.rows[self.start].values) if self.rows else 0

    def _find_start(self) -> int:
        """Return the index of the header after lines of a title; 0 if there is no title."""
        for index, row in enumerate(self.rows[: TITLE_LINES_MAX + 1]):
            if len(row.values) > 1:
                names = [value[:TITLE_CHARACTERS] for value in row.values]
                is_header = index == 0 or not any(map(NUMBER.fullmatch, names))
                return index if is_header and len(self.rows) > index + bool(index) else 0
            if not TITLE.match(row.values[0][:TITLE_CHARACTERS]):
                return 0
        return 0

    def faulty_line(self) -> int | None:
        """Return the first line with more or fewer values than the header, or None."""
        for row in self.rows[self.start :]:
            if len(row.values) != self.width:
                return row.line
        return self.error_line

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """Return a sort key: of scans without a faulty line, the most plausible has the highest."""
        return not self.start, self.delimiter in USUAL_DELIMITERS, self.width

    @property
    def fitting_rows(self) -> int:
        """Return how many rows have as many values as the header, if those are several."""
        if self.width < 2:
            return 0
        return sum(len(row.values) == self.width for row in self.rows)

    @property
    def splits_rows(self) -> bool:
        """Return whether the header and another row have several values."""
        return self.width > 1 and sum(len(row.values) > 1 for row in self.rows[self.start :]) > 1

    def layout(self, is_guess: bool) -> Layout:
        """Return the layout that this delimiter and quoting result in."""
        delimiter, rows = self.delimiter, self.rows[self.start :]
        header = rows[0] if rows else Row(1, [])
        is_odd = delimiter in REPEATED_DELIMITERS and self.width > 1 and self.width % 2
        if is_odd and not any(any(row.values[1::2]) for row in rows):
            delimiter, is_guess = 2 * delimiter, True
            header = Row(header.line, header.values[::2])
        is_guess |= self.start > 0 or delimiter not in USUAL_DELIMITERS
        return Layout(delimiter, self.quoting, header.line - 1, header.values, is_guess)

    def single_column(self) -> Layout:
        """Return the layout of a file without delimiters."""
        header = self.rows[0] if self.rows else Row(1, [])
        is_guess = len(self.rows) > 1 and seems_split(self.rows)
        return Layout(self.delimiter, self.quoting, header.line - 1, header.values, is_guess)


def seems_split(rows: list[Row]) -> bool:
    """Return whether all rows have equally many words, or the same signs as the header."""
    lines = [row.values[0] for row in rows]
    words = {len(line.split()) for line in lines}
    is_split = len(words) == 1 and words != {0} and words != {1}
    signs = {sign for sign in lines[0] if not sign.isalnum() and sign not in SIGNS_OF_NAMES}
    is_split |= any(len({line.count(sign) for line in lines}) == 1 for sign in signs)
    return is_split


def layout_of(text: str, is_whole: bool) -> Layout:
    """Return the layout of a CSV file that begins with `text`, or that it is as a whole.

    Raises ConnectionFailure (FILE_MALFORMED) with the first line that has more or fewer values
    than the header, whatever the delimiter.
    """
    usual, rare, skipped_lines = USUAL_DELIMITERS, RARE_DELIMITERS, 0
    if separator := SEPARATOR_LINE.match(text):
        usual, rare, skipped_lines = separator[1], "", 1
    if "://" in text:
        rare = rare.replace(":", "")
    text, is_cut = _complete_lines(text, is_whole)
    if not text:
        raise ConnectionFailure(Code.FILE_MALFORMED, line=1)
    delimiters = "".join(filter(text.__contains__, usual)) or usual[0]
    delimiters += "".join(filter(text.__contains__, rare))
    first: list[Scan] = []
    for quoting in QUOTINGS:
        if quoting.mark not in text and first:
            continue
        scans = [Scan(text, delimiter, quoting, skipped_lines) for delimiter in delimiters]
        for scan in scans:
            if is_cut:
                scan.error_line = None  # a quoted value that goes on
        first = first or scans
        if found := _best(scans):
            return found
    # A rare delimiter in the header alone, or not in the header, is a part of values, as in 10:30.
    first = [scan for scan in first if scan.delimiter in usual or scan.splits_rows]
    if all(scan.fitting_rows == 0 and scan.faulty_line() is None for scan in first):
        return first[0].single_column()
    most = max(scan.fitting_rows for scan in first)
    lines = [scan.faulty_line() for scan in first if scan.fitting_rows == most]
    raise ConnectionFailure(Code.FILE_MALFORMED, line=min(filter(None, lines)))


def faulty_line(text: str, layout: Layout) -> int | None:
    """Return the first line of a text that does not fit its layout, or None."""
    scan = Scan(text, layout.delimiter[0], layout.quoting, layout.skipped_lines)
    return scan.faulty_line()


def _best(scans: list[Scan]) -> Layout | None:
    """Return the layout by the best of the scans that split all rows alike, if any does."""
    even = [scan for scan in scans if scan.width > 1 and scan.faulty_line() is None]
    even.sort(key=lambda scan: scan.rank, reverse=True)
    if not even:
        return None
    is_ambiguous = len(even) > 1 and even[1].rank[:2] == even[0].rank[:2]
    return even[0].layout(is_ambiguous)


def _complete_lines(text: str, is_whole: bool) -> tuple[str, bool]:
    """Return the first lines of a text, and whether lines were left out.

    The text is empty if not even one line fits: DuckDB would read no rows.
    """
    if is_whole and len(text) <= SCANNED_CHARACTERS:
        return text, False
    for end in (SCANNED_CHARACTERS, len(text)):
        cut = max(text.rfind("\n", 0, end), text.rfind("\r", 0, end)) + 1
        if cut:
            return text[:cut], True
    return (text, False) if is_whole else ("", True)
