"""Files as they are in packages: both readings of each."""

from pathlib import Path
from typing import Any

from datasources.schemas.reading.catalogue import Column
from tests.real.comparing import Tally
from tests.real.databases import compare_sqlite, name_of, stored, wanted
from tests.real.reading import UnreadableError, read_tables
from tests.real.second import files as second
from tests.real.sources import files_of

LABELS = {"csv": "CSV files", "json": "JSON files", "parquet": "Parquet files"}
KINDS = {
    **dict.fromkeys(("float", "decimal"), "number"),
    **{kind: kind for kind in ("integer", "array", "object")},
}


def compare_files(folder: Path, tally: Tally, only: list[str]) -> None:
    """Compare both readings of all files that are in the packages."""
    for path in files_of("sqlite"):
        name = name_of(path)
        if wanted(only, name):
            compare_sqlite(folder / stored(path, folder), folder, "SQLite files", name, tally)
    for type_name in ("csv", "json", "parquet"):
        paths = [path for path in files_of(type_name) if wanted(only, str(path))]
        parquet = second.parquet_columns(paths) if type_name == "parquet" and paths else {}
        for path in paths:
            compare_file(type_name, path, parquet.get(path, []), folder, tally)


def compare_file(
    type_name: str,
    path: Path,
    parquet: list[tuple[str, str, bool]],
    folder: Path,
    tally: Tally,
) -> None:
    """Compare both readings of a file; one that is not a table is left out."""
    name = name_of(path)
    try:
        found: dict[Any, Any]
        if type_name == "csv":
            found = second.csv_columns(path)
        elif type_name == "json":
            found = {(key,): kind for key, kind in second.json_columns(path).items()}
        else:
            found = {(key,): (kind, nullable) for key, kind, nullable in parquet}
    except second.UnsuitableError:
        return
    target = stored(path, folder)
    try:
        [table] = read_tables(type_name, file_path=target)
    except UnreadableError as error:
        tally.fail(LABELS[type_name], name, repr(error))
        return
    finally:
        (folder / target).unlink()
    ours = {
        key_of(type_name, place, column): (
            (kind_of(column), column["nullable"]) if type_name == "parquet" else kind_of(column)
        )
        for place, column in enumerate(table["columns"])
    }
    tally.add(LABELS[type_name], name, second.facts_of(ours), second.facts_of(found))


def key_of(type_name: str, place: int, column: Column) -> tuple[Any, ...]:
    """Return what identifies a column; objects of JSON have no order."""
    name = column["name"]
    return (place, name.strip()) if type_name == "csv" else (name,)


def kind_of(column: Column) -> str:
    """Return the kind of a column, as the second reading has it."""
    return "mixed" if column["type"] == "JSON" else KINDS.get(column["common_type"], "text")
