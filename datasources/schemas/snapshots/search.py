"""Finding tables by words."""

import json
from collections.abc import Iterable, Iterator

from datasources.schemas.reading.catalogue import Table


def tables_with(
    words: Iterable[str], lines: Iterable[tuple[int, bytes]]
) -> Iterator[tuple[int, bytes]]:
    """Give those of the tables, each as JSON, that have all the words, ignoring case.

    They may be in the names and comments of the table and of its columns.
    """
    lower = [word.lower() for word in words]
    # As they stand in JSON. To parse is slow, and most lines have not even these letters.
    escaped = [json.dumps(word, ensure_ascii=False)[1:-1] for word in lower]
    for position, line in lines:
        text = line.decode().lower()
        if all(word in text for word in escaped) and has_words(json.loads(line), lower):
            yield position, line


def has_words(table: Table, words: Iterable[str]) -> bool:
    """Whether a table has all the words, which are in lower case."""
    texts = [table["schema"], table["name"], table["comment"]]
    for column in table["columns"]:
        texts += (column["name"], column["comment"])
    lower = [text.lower() for text in texts if text]
    return all(any(word in text for text in lower) for word in words)
