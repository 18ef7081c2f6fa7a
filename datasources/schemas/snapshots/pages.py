"""Pagination of tables and changes, by an offset into snapshots, which never change.

The links name the snapshots, so that a new snapshot does not disturb the next pages.
"""

import base64
from collections.abc import Collection, Iterable
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from datasources.schemas.snapshots.content import TABLES_MAX
from rivergen.http.input import check_parameters
from rivergen.http.pagination import read_page_size, take_page

CURSOR_MAX_LENGTH = 24
# A table may have several changes.
OFFSET_MAX = 1_000 * TABLES_MAX


class Page:
    """The page that a request asks for: at most `size` rows, beginning at `offset`.

    A page also ends at `PAGE_BYTES_MAX`; the next page goes on from there.
    """

    def __init__(self, request: Request, parameters: Collection[str]) -> None:
        """Read cursor and size from a request that may also have `parameters`. Raises 400."""
        check_parameters(request, ("cursor", "page_size", *parameters))
        self.size = read_page_size(request)
        self.offset = read_cursor(request.query_params.get("cursor"))
        self._url = request.build_absolute_uri()
        self._next: int | None = None

    def take(self, rows: Iterable[Any]) -> list[Any]:
        """Return the rows of this page, from rows that begin at `offset`."""
        taken, has_more = take_page(rows, self.size)
        self._next = self.offset + len(taken) if has_more else None
        return taken

    def pagination(self, **snapshots: int) -> dict[str, Any]:
        """Return the links to the next and previous page, of the same `snapshots`."""
        before = max(self.offset - self.size, 0)
        return {
            "next": self._link(self._next, snapshots) if self._next else None,
            "previous": self._link(before, snapshots) if self.offset else None,
            "page_size": self.size,
        }

    def _link(self, offset: int, snapshots: dict[str, int]) -> str:
        url = remove_query_param(self._url, "cursor")
        for name, number in snapshots.items():
            url = replace_query_param(url, name, number)
        return replace_query_param(url, "cursor", write_cursor(offset)) if offset else url


def write_cursor(offset: int) -> str:
    """Return the cursor that stands for an offset in a URL."""
    return base64.urlsafe_b64encode(b"%d" % offset).decode().rstrip("=")


def read_cursor(text: str | None) -> int:
    """Return the offset of a cursor; without one, 0. Raises ValidationError (400)."""
    if text is None:
        return 0
    try:
        if len(text) > CURSOR_MAX_LENGTH:
            raise ValueError
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        digits = base64.b64decode(padded, altchars=b"-_", validate=True)
        if digits.isdigit() and 0 < int(digits) <= OFFSET_MAX:
            return int(digits)
        raise ValueError
    except ValueError:
        raise ValidationError({"cursor": ["Not a cursor of this list."]}) from None
