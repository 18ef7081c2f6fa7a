"""What a PostgreSQL server cannot spell: a function or library that an expression needs is gone."""

from typing import Any

from psycopg import Connection, Error

from datasources.schemas.reading.readers.postgresql_session import begin

# Internal errors of the server and its system, and functions that a library does not have.
SQLSTATES = ("XX", "58", "42883")
# The catalogues with expressions, and what is spelled of each row.
EXPRESSIONS = {
    "pg_attrdef": ("oid", "pg_get_expr(adbin, adrelid)"),
    "pg_index": ("indexrelid", "(pg_get_indexdef(indexrelid), pg_get_expr(indpred, indrelid))"),
    "pg_type": ("oid", "pg_get_expr(typdefaultbin, 0)"),
}


def is_damage(error: Exception) -> bool:
    """Return whether an error may come from one expression of the catalogue."""
    return isinstance(error, Error) and (error.sqlstate or "").startswith(SQLSTATES)


def damaged(connection: "Connection[Any]") -> list[int]:
    """Return the `oid` of each default, index and domain that the server cannot spell.

    Halves what fails until single rows are left. Any open transaction is rolled back.
    """
    found = []
    for catalogue, (key, spelled) in EXPRESSIONS.items():
        rows = _run(connection, f"SELECT {key} FROM {catalogue} WHERE {key} >= 16384")
        # The empty part comes first: it fails if the server does not have the function.
        parts = [[oid for [oid] in rows], []]
        while parts:
            part = parts.pop()
            try:
                _run(
                    connection,
                    f"SELECT count({spelled}) FROM {catalogue} WHERE {key} = ANY (%s::oid[])",
                    [part],
                )
            except Error as error:
                if not part or not is_damage(error):
                    raise
                half = len(part) // 2
                if half:
                    parts += [part[:half], part[half:]]
                else:
                    found += part
    return found


def _run(connection: "Connection[Any]", statement: str, *parameters: Any) -> list[Any]:
    """Return the rows of a statement in a transaction of its own, with plain names."""
    connection.rollback()
    begin(connection)
    try:
        return connection.execute(statement, *parameters).fetchall()
    finally:
        connection.rollback()
