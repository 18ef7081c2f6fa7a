"""Where a JSON text breaks the rules, which DuckDB says in prose only."""

import json

from datasources.connections.failures import Code, ConnectionFailure


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
        # json names the start of a string that does not end.
        if error.msg.startswith("Unterminated string") or not text[error.pos :].strip():
            return ConnectionFailure(Code.FILE_TRUNCATED) if is_whole else None
        return ConnectionFailure(Code.FILE_MALFORMED, line=error.lineno)
    except RecursionError:
        pass
    return None
