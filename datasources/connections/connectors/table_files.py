"""Files that are one table: CSV, JSON and Parquet, which DuckDB reads."""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar

from datasources.connections.connectors.base import one_line
from datasources.connections.connectors.files import DuckDBConnector
from datasources.connections.failures import Code, ConnectionFailure
from datasources.connections.files.csv_layout import Layout, faulty_line, layout_of
from datasources.connections.files.formats import Format, format_of_text
from datasources.connections.files.json_faults import json_failure
from datasources.connections.files.storage import FILE_URL, StoredFile
from datasources.connections.files.text import StreamReader, TextFile
from datasources.connections.protection import WarningCode

CSV_BUFFER_BYTES = 4 * 1024 * 1024  # DuckDB's default reads 32 MB for a first look
LINE_OF_CSV = re.compile(r"CSV Error on Line: (\d+)\n.*Expected Number of Columns", re.DOTALL)
LINE_OF_JSON = re.compile(r"in line (\d+)")
BRACKETS = {"[": ("]",), "{": ("}", "]")}  # of values, by the bracket of the first one
PARQUET_BYTES_MIN = 12  # "PAR1" twice, and the length of the footer
WORD = re.compile(r"\s*(?!(?:true|false|null|NaN|Infinity|inf)\b)[^\W\d]", re.IGNORECASE)
# DuckDB compares each name of JSON with all others: a minute for 20,000.
NAMES_MAX = 10_000
SAMPLE_ROWS = 20_480  # DuckDB's own
RENAMED = re.compile(r"(.*)_\d+$", re.DOTALL)


def literal(text: str) -> str:
    """Return a string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def arguments(options: dict[str, str]) -> str:
    """Return the arguments of a table function: the file, and named ones."""
    return ", ".join([literal(FILE_URL), *(f"{name} = {text}" for name, text in options.items())])


def types_of(columns: Iterable[tuple[str, str]]) -> str:
    """Return columns and their types as an argument."""
    return "{" + ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns) + "}"


def columns_of_parquet(connection: Any) -> list[tuple[str, bool]]:
    """Return the columns of a Parquet file, by their names in it, and whether each is REQUIRED.

    Its schema is a tree: each node comes before its children, and the first one is the root.
    """
    statement = f"SELECT name, repetition_type, num_children FROM parquet_schema('{FILE_URL}')"
    columns = []
    open_children: list[int] = []
    for name, repetition, children in connection.execute(statement).fetchall():
        if len(open_children) == 1:
            columns.append((name, repetition == "REQUIRED"))
        if open_children:
            open_children[-1] -= 1
        open_children.append(children or 0)
        while open_children and not open_children[-1]:
            open_children.pop()
    return columns


class TableConnector(DuckDBConnector):
    """A type whose file is one table, readable as the view `data`."""

    title: ClassVar[str]

    def read_version(self, connection: Any) -> str:
        """Check that a row can be read. Return the number of columns in place of a version."""
        result = connection.execute("SELECT * FROM data LIMIT 1")
        count = len(result.description)
        result.fetchall()
        return one_line(f"{self.title}, {count} {'column' if count == 1 else 'columns'}")


class TextConnector(TableConnector):
    """A type whose files are text, in any encoding, and perhaps compressed."""

    text: TextFile

    def open(self, file: StoredFile) -> Any:
        """Start a DuckDB that can read this file only, as plain text in UTF-8."""
        self.text = TextFile(file)
        found = format_of_text(self.text.head)
        if found is not None and found != self.format:
            raise ConnectionFailure(Code.FILE_OTHER_TYPE, found=found.value)
        if self.text.is_encoding_guessed:
            self.doubts.append(WarningCode.ENCODING_GUESSED)
        self.examine()
        if not self.text.is_whole:
            self.doubts.append(WarningCode.TYPES_SAMPLED)
        if self.text.is_stream:
            return self.start(file, lambda: StreamReader(self.text))
        return self.start(self.text, None)

    def examine(self) -> None:
        """Find out how to read the text. Raises ConnectionFailure if it cannot be read."""

    def options(self) -> dict[str, str]:
        """Return the options of DuckDB that any text needs."""
        options = {"compression": "'gzip'" if self.text.is_stream else "'none'"}
        if self.text.is_whole:
            options["sample_size"] = "-1"
        return options

    def failure_of(self, error: Exception) -> ConnectionFailure:
        """Return the reason why the text cannot be read."""
        import duckdb

        if isinstance(error, ConnectionFailure):
            return error
        is_read = "text" in vars(self)
        if is_read and self.text.failure is not None:
            return self.text.failure
        if code := self.explain_statement(error):
            return ConnectionFailure(code)
        if not is_read or isinstance(error, duckdb.IOException):
            return ConnectionFailure(Code.QUERY_FAILED)
        if "invalid unicode" in (message := str(error)).lower() or "invalid UTF-8" in message:
            return ConnectionFailure(Code.FILE_ENCODING)  # behind the start, which was decoded
        return self.malformed(message)

    def malformed(self, message: str) -> ConnectionFailure:
        """Return FILE_MALFORMED with the line that DuckDB or a look at the text finds."""
        raise NotImplementedError


class CSV(TextConnector):
    """A CSV file; DuckDB detects types and header."""

    name = "csv"
    label = "CSV file"
    title = "CSV"
    layout: Layout

    def examine(self) -> None:
        """Find delimiter, quotes and the line of the header."""
        head = self.text.head
        self.layout = layout_of(head, self.text.is_whole)
        if any("\0" in name for name in self.layout.first_row):
            line = self.layout.skipped_lines + 1
            raise ConnectionFailure(Code.FILE_MALFORMED, line=line)
        if self.layout.is_guess:
            self.doubts.append(WarningCode.COLUMNS_GUESSED)
        # Line ends inside quotes count, too: replacing those changes no column.
        both, first = head.count("\r\n"), head.count("\r")
        if (both > 0) + (first > both) + (head.count("\n") > both) > 1:
            self.text.translate_line_ends()

    def prepare(self, connection: Any) -> None:
        """Create the view, with what is detected once."""
        options = self.options() | {
            "delim": literal(self.layout.delimiter),
            "quote": literal(self.layout.quoting.quote),
            "escape": literal(self.layout.quoting.escape),
            "skip": str(self.layout.skipped_lines),
            "comment": "''",
            "buffer_size": str(CSV_BUFFER_BYTES),
        }
        result = connection.execute(f"FROM sniff_csv({arguments(options)})")
        names = [column[0] for column in result.description]
        found = dict(zip(names, result.fetchone(), strict=True))
        columns = [(column["name"], column["type"]) for column in found["Columns"]]
        written = self.layout.first_row if found["HasHeader"] else []
        if [name.strip() for name in written] != [name.strip() for name, _ in columns]:
            self.doubts.append(WarningCode.COLUMNS_RENAMED)
        options |= {
            "auto_detect": "false",
            "header": str(found["HasHeader"]).lower(),
            "columns": types_of(columns),
        }
        for option, name in (("dateformat", "DateFormat"), ("timestampformat", "TimestampFormat")):
            if found[name] is not None:
                options[option] = literal(found[name])
        if (line_end := found["NewLineDelimiter"]).startswith("\\"):
            options["new_line"] = literal(line_end)
        connection.execute(f"CREATE VIEW data AS FROM read_csv({arguments(options)})")
        if self.text.is_whole:  # DuckDB looks at the types of all rows, but not at their length
            connection.execute("SELECT count(*) FROM data").fetchall()

    def malformed(self, message: str) -> ConnectionFailure:
        """Return FILE_MALFORMED with the first line that does not fit the header."""
        line = faulty_line(self.text.head, self.layout) if self.text.is_whole else None
        if line is None and (found := LINE_OF_CSV.search(message)):
            line = int(found[1])
        if line is None:
            return ConnectionFailure(Code.FILE_MALFORMED)
        return ConnectionFailure(Code.FILE_MALFORMED, line=line)


class JSON(TextConnector):
    """A JSON file: an array of objects, or one object per line."""

    name = "json"
    label = "JSON file"
    title = "JSON"
    format = Format.JSON

    def examine(self) -> None:
        """Check the first word, and the end, which DuckDB may not look at."""
        if WORD.match(self.text.head):
            raise ConnectionFailure(Code.FILE_OTHER_TYPE, found=Format.TEXT.value)
        bracket = BRACKETS.get(self.text.head.lstrip()[:1])
        end = self.text.end()
        if bracket and end and not end.endswith(bracket):
            found = json_failure(self.text.head, self.text.is_whole)
            if found or not self.text.is_whole:  # else a value of another kind is the last
                raise found or ConnectionFailure(Code.FILE_TRUNCATED)

    def prepare(self, connection: Any) -> None:
        """Create the view."""
        import duckdb

        options = self.options()
        self._check_names(connection)
        try:
            columns = self._columns(connection, options)
        except duckdb.NotImplementedException:
            # Names in nested objects differ only in case, which no type but JSON can have.
            options["maximum_depth"] = "1"
            self.doubts.append(WarningCode.COLUMNS_GUESSED)
            columns = self._columns(connection, options)
        if len(columns) == 1 and columns[0][0] == "json" and not self._has_objects(connection):
            # DuckDB takes objects with more than 200 names for one map.
            options["map_inference_threshold"] = "-1"
            columns = self._columns(connection, options)
            if len(columns) == 1 and columns[0][0] == "json":
                self._check_values(connection, options)
                options["records"] = "'false'"
        if self._has_renamed(columns):  # a given column would be looked up by its new name
            self.doubts.append(WarningCode.COLUMNS_RENAMED)
        else:
            options["columns"] = types_of(columns)  # so that they are detected once
        connection.execute(f"CREATE VIEW data AS FROM read_json({arguments(options)})")

    def _check_names(self, connection: Any) -> None:
        """Raise ConnectionFailure (SCHEMA_TOO_LARGE) for a dictionary, whose names are its data."""
        import duckdb

        options = self.options() | {"records": "'false'", "columns": types_of([("json", "JSON")])}
        rows = f"SELECT json FROM read_json({arguments(options)}) LIMIT {SAMPLE_ROWS}"
        names = f"SELECT DISTINCT unnest(json_keys(json)) FROM ({rows}) LIMIT {NAMES_MAX + 1}"
        with suppress(duckdb.Error):  # what reads the columns explains it
            if len(connection.execute(names).fetchall()) > NAMES_MAX:
                raise ConnectionFailure(Code.SCHEMA_TOO_LARGE)

    def _columns(self, connection: Any, options: dict[str, str]) -> list[tuple[str, str]]:
        statement = f"DESCRIBE FROM read_json({arguments(options)})"
        return [(row[0], row[1]) for row in connection.execute(statement).fetchall()]

    def _has_objects(self, connection: Any) -> bool:
        """Return whether the column `json` is a name in objects, not DuckDB's for other values."""
        import duckdb

        try:
            self._columns(connection, self.options() | {"records": "'true'"})
        except duckdb.BinderException:
            return False
        return True

    def _check_values(self, connection: Any, options: dict[str, str]) -> None:
        """Raise ConnectionFailure (FILE_EMPTY) if there are no values; else they are no objects."""
        statement = f"SELECT 1 FROM read_json({arguments(options)}) LIMIT 1"
        if not connection.execute(statement).fetchall():
            raise ConnectionFailure(Code.FILE_EMPTY)
        self.doubts.append(WarningCode.COLUMNS_GUESSED)

    def _has_renamed(self, columns: list[tuple[str, str]]) -> bool:
        """Return whether names got a number, because they differ from others only in case."""
        lower = {name.lower() for name, _ in columns}
        for name, _ in columns:
            found = RENAMED.match(name)
            if found and found[1].lower() in lower and f'"{name}"' not in self.text.head:
                return True
        return False

    def malformed(self, message: str) -> ConnectionFailure:
        """Return FILE_TRUNCATED, FILE_TOO_LARGE, or FILE_MALFORMED with the first faulty line."""
        found = json_failure(self.text.head, self.text.is_whole)
        if found is None and "maximum_object_size" in message:
            return ConnectionFailure(Code.FILE_TOO_LARGE)
        if found is None and "unexpected end of data" in message:
            found = ConnectionFailure(Code.FILE_TRUNCATED)
        if found is None and (line := LINE_OF_JSON.search(message)):
            found = ConnectionFailure(Code.FILE_MALFORMED, line=int(line[1]))
        return found or ConnectionFailure(Code.FILE_MALFORMED)


class Parquet(TableConnector):
    """A Parquet file."""

    name = "parquet"
    label = "Parquet file"
    title = "Parquet"
    format = Format.PARQUET

    def prepare(self, connection: Any) -> None:
        """Create the view."""
        connection.execute(f"CREATE VIEW data AS FROM read_parquet('{FILE_URL}')")
        names = [name.lower() for name, _ in columns_of_parquet(connection)]
        if "" in names or len({*names}) < len(names):
            self.doubts.append(WarningCode.COLUMNS_RENAMED)

    def failure_of(self, error: Exception) -> ConnectionFailure:
        """Return the reason why the file cannot be read."""
        failure = super().failure_of(error)
        if failure.code == Code.FILE_MALFORMED:
            # Nothing but DuckDB's prose tells these apart.
            if "encrypted" in str(error):
                return ConnectionFailure(Code.FILE_ENCRYPTED)
            if "at least one non-root column" in str(error):
                return ConnectionFailure(Code.FILE_EMPTY)
        return failure

    def check_format(self, file: StoredFile) -> None:
        """Raise ConnectionFailure if the file is no Parquet file, encrypted or cut off."""
        super().check_format(file)
        start, end = file.read_at(0, 4), file.read_at(max(0, file.size - 4), 4)
        if b"PARE" in (start, end):
            raise ConnectionFailure(Code.FILE_ENCRYPTED)
        is_complete = start == end and file.size >= PARQUET_BYTES_MIN
        code = Code.FILE_MALFORMED if is_complete else Code.FILE_TRUNCATED
        raise ConnectionFailure(code)
