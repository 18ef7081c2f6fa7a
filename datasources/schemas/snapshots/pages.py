"""Pagination of tables and changes, by an offset into snapshots, which never change.

A cursor names the snapshots, so that a new snapshot does not disturb the next pages.
"""

import base64
from collections.abc import Collection, Iterable
from typing import Any, NoReturn

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from datasources.schemas.snapshots.content import TABLES_MAX
from rivergen.http.input import check_parameters, read_id
from rivergen.http.pagination import NO_CURSOR, page_links, read_page_size, take_page

CURSOR_MAX_LENGTH = 72
# A table may have several changes.
OFFSET_MAX = 1_000 * TABLES_MAX


class Page:
    """The page that a request asks for: at most `size` rows, beginning at `offset`.

    A page also ends at `PAGE_BYTES_MAX`; the next page goes on from there. `numbers` are those of
    the snapshots that the request names, in a parameter or by its cursor.
    """

    def __init__(
        self, request: Request, snapshots: Collection[str], parameters: Collection[str] = ()
    ) -> None:
        """Read cursor, size and the numbers of snapshots, by parameter. Raises 400.

        The request may also have `parameters`.
        """
        check_parameters(request, ("cursor", "page_size", *snapshots, *parameters))
        query = request.query_params
        self.size = read_page_size(request)
        self.numbers = {name: read_number(name, query[name]) for name in snapshots if name in query}
        self.offset = 0
        if "cursor" in query:
            self.offset, continued = read_cursor(query["cursor"], snapshots)
            self.numbers = continued | self.numbers
            if self.numbers != continued:
                raise_no_cursor()
        self._url = request.build_absolute_uri()
        self._next: int | None = None

    def take(self, rows: Iterable[Any]) -> list[Any]:
        """Return the rows of this page, from rows that begin at `offset`."""
        taken, has_more = take_page(rows, self.size)
        self._next = self.offset + len(taken) if has_more else None
        return taken

    def pagination(self, **snapshots: int | None) -> dict[str, Any]:
        """Return the links to the next and previous page, of the same `snapshots`."""
        before = max(self.offset - self.size, 0) if self.offset else None
        cursors = [
            None if offset is None else write_cursor(offset, snapshots)
            for offset in (self._next, before)
        ]
        return page_links(self._url, self.size, *cursors)


def read_number(parameter: str, text: str) -> int:
    """Return the number of a snapshot. Raises ValidationError (400)."""
    if not read_id(text):
        raise ValidationError({parameter: ["Must be the number of a snapshot."]})
    return read_id(text)


def write_cursor(offset: int, snapshots: dict[str, int | None]) -> str:
    """Return the cursor that stands for an offset into these snapshots, None for a missing one."""
    numbers = [offset, *(number or 0 for number in snapshots.values())]
    text = ".".join(map(str, numbers))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(text: str, snapshots: Collection[str]) -> tuple[int, dict[str, int]]:
    """Return the offset of a cursor, and the numbers of its snapshots. Raises 400."""
    try:
        if len(text) > CURSOR_MAX_LENGTH:
            raise ValueError
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).split(b".")
        if not all(part.isdigit() for part in parts):
            raise ValueError
        offset, *numbers = map(int, parts)
        found = zip(snapshots, numbers, strict=True)
        if offset > OFFSET_MAX:
            raise ValueError
        return offset, {name: number for name, number in found if number}
    except ValueError:
        raise_no_cursor()


def raise_no_cursor() -> NoReturn:
    """Raise ValidationError (400) for a cursor that this list has not returned."""
    raise ValidationError({"cursor": [NO_CURSOR]})
