"""Where a JSON text breaks the rules, which DuckDB says in prose only."""

import json
import re

from datasources.connections.failures import Code, ConnectionFailure

WORDS = ("true", "false", "null", "NaN", "-Infinity", "Infinity")
BEGUN = {"", *(word[:length] for word in WORDS for length in range(1, len(word)))}
NUMBER_END = re.compile(r"\.|[eE][+-]?")


def json_failure(text: str, is_whole: bool) -> ConnectionFailure | None:
    """Return why a text of JSON values, one after another, cannot be read; None if it can.

    FILE_TRUNCATED if it ends inside a value, FILE_MALFORMED with the line otherwise. Only the
    second can be said of a text of which more follows.
    """
    decoder = json.JSONDecoder()
    position = 0
    try:
        while position < len(text):
            if text[position] in " \t\r\n":
                position += 1
            else:
                _, position = decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        if _is_cut_off(error):
            return ConnectionFailure(Code.FILE_TRUNCATED) if is_whole else None
        return ConnectionFailure(Code.FILE_MALFORMED, line=error.lineno)
    except RecursionError:
        pass
    return None


def _is_cut_off(error: json.JSONDecodeError) -> bool:
    """Return whether the text ends inside the value at which the error is."""
    rest = error.doc[error.pos :].strip()
    # json names the start of a string that does not end, and says no more of an escape.
    if error.msg.startswith("Unterminated string"):
        return True
    if error.msg.startswith("Invalid \\uXXXX"):
        return '"' not in rest
    is_in_number = error.doc[: error.pos][-1:].isdigit()
    return rest in BEGUN or (is_in_number and NUMBER_END.fullmatch(rest) is not None)
