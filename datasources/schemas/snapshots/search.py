"""Search of tables by words."""

import json
from collections.abc import Iterable, Iterator

from datasources.schemas.reading.catalogue import Table


def tables_with(
    words: Iterable[str], lines: Iterable[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """Yield position and JSON of the tables that contain all words, ignoring case.

    The words may be in the names and comments of a table and of its columns.
    """
    lower = [word.lower() for word in words]
    # Search the JSON text first: lines without the escaped words need not be parsed.
    escaped = [json.dumps(word, ensure_ascii=False)[1:-1] for word in lower]
    for position, line in lines:
        text = line.decode().lower()
        if all(word in text for word in escaped) and has_words(json.loads(line), lower):
            yield position, line


def has_words(table: Table, words: Iterable[str]) -> bool:
    """Return whether a table contains all words, given in lower case."""
    texts = [table["schema"], table["name"], table["comment"]]
    for column in table["columns"]:
        texts += (column["name"], column["comment"])
    lower = [text.lower() for text in texts if text]
    return all(any(word in text for text in lower) for word in words)
