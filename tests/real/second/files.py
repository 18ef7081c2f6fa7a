"""What Python's own readers find in CSV and JSON files, and PyArrow in Parquet files."""

import csv
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.real.comparing import Facts
from tests.real.downloads import CACHE

# A number with leading zeros or a plus sign is a code, such as that of a country.
INTEGER = re.compile(r"-?(0|[1-9]\d*)")
NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|nan|[+-]?inf(inity)?", re.IGNORECASE)
CODE = re.compile(r"0\d")
# An object with more names is a dictionary: the names are its data.
NAMES_MAX = 1_000
INTEGERS_MAX = 2**127
APPS = Path(__file__).parent.parent / "apps"
csv.field_size_limit(sys.maxsize)


class UnsuitableError(Exception):
    """A file is not a table, so both readers may make of it what they like."""


def text_of(path: Path) -> str:
    """Return the text of a file."""
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def csv_columns(path: Path) -> dict[tuple[int, str], str]:
    """Return the kind of the values of each column, by place and name.

    Raises UnsuitableError if the rows have different lengths.
    """
    text = text_of(path)
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=header.count)
    if delimiter not in header and " " in header.strip():
        raise UnsuitableError("Columns between spaces.")
    rows = [row for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter) if row]
    if len(rows) < 2 or len({len(row) for row in rows}) > 1:
        raise UnsuitableError("Rows of different lengths, or none.")
    names, *values = rows
    if (
        "" in names
        or len({name.lower() for name in names}) < len(names)
        or any(kind_of_text([n]) != "text" for n in names)
    ):
        raise UnsuitableError("The first line has no names.")
    return {
        (place, name.strip()): kind_of_text(row[place] for row in values)
        for place, name in enumerate(names)
    }


def kind_of_text(values: Iterable[str]) -> str:
    """Return `integer`, `number` or `text`."""
    found = {value.strip() for value in values} - {""}
    if found and all(map(INTEGER.fullmatch, found)):
        return "integer" if max(abs(int(value)) for value in found) < INTEGERS_MAX else "number"
    is_number = found and all(map(NUMBER.fullmatch, found)) and not any(map(CODE.match, found))
    return "number" if is_number else "text"


def json_columns(path: Path) -> dict[str, str]:
    """Return the kind of the values of each name in the objects of a file.

    Raises UnsuitableError if it has anything but objects.
    """
    text = text_of(path)
    try:
        document = json.loads(text)
    except ValueError:
        try:
            document = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise UnsuitableError("Not JSON.") from None
    rows = document if isinstance(document, list) else [document]
    if len(rows) == 1 and isinstance(rows[0], dict) and len(rows[0]) > NAMES_MAX:
        raise UnsuitableError("A dictionary.")
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise UnsuitableError("Not only objects.")
    kinds: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            kinds.setdefault(name, set()).update({kind_of_value(value)} - {"null"})
    return {name: merged(found) for name, found in kinds.items()}


def kind_of_value(value: Any) -> str:
    """Return the kind of a value of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool | str):
        return "text"
    if isinstance(value, int):
        return "integer" if abs(value) < 2**64 else "number"
    return {float: "number", list: "array", dict: "object"}[type(value)]


def merged(kinds: set[str]) -> str:
    """Return the kind of a column that has values of several kinds."""
    if kinds == {"integer", "number"}:
        return "number"
    return kinds.pop() if len(kinds) == 1 else "mixed"


def parquet_columns(paths: list[Path]) -> dict[Path, list[tuple[str, str, bool]]]:
    """Return name, kind and whether it may be null of each column of Parquet files."""
    result = subprocess.run(
        [CACHE / "apps/sqlalchemy/bin/python", APPS / "parquet_columns.py", *paths],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        Path(path): [(name, kind_of_arrow(kind), nullable) for name, kind, nullable in columns]
        for path, columns in json.loads(result.stdout).items()
    }


def kind_of_arrow(name: str) -> str:
    """Return the kind of a type of Arrow."""
    if name.startswith(("list", "large_list", "fixed_size_list")):
        return "array"
    if name.startswith(("struct", "map")):
        return "object"
    if name.startswith(("float", "double", "halffloat", "decimal")):
        return "number"
    return "integer" if re.fullmatch(r"u?int\d+", name) else "text"


def facts_of(columns: dict[Any, Any]) -> Facts:
    """Return facts about a file that is one table."""
    return {"tables": {("data",): "file"}, "columns": columns}
