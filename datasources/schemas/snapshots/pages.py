"""Pages of what is computed from snapshots, which never change.

The links name the snapshots, so that a new one does not come between the pages.
"""

import base64
from collections.abc import Collection, Iterable
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from datasources.schemas.snapshots.content import TABLES_MAX, dump
from rivergen.http.input import check_parameters
from rivergen.http.pagination import read_page_size

CURSOR_MAX_LENGTH = 24
# A table may have some changes.
OFFSET_MAX = 1_000 * TABLES_MAX
# As JSON. As objects it is some times as much, in each thread that makes a page.
PAGE_BYTES_MAX = 8 * 1024 * 1024


class Page:
    """The page that a request asks for: rows from `offset` on, `size` at most.

    One that ends early, at `PAGE_BYTES_MAX`, is followed by the rows that were left out.
    """

    def __init__(self, request: Request, parameters: Collection[str]) -> None:
        """Read the request, which may have `parameters`, too. Raises ValidationError (400)."""
        check_parameters(request, ("cursor", "page_size", *parameters))
        self.size = read_page_size(request)
        self.offset = read_cursor(request.query_params.get("cursor"))
        self._url = request.build_absolute_uri()
        self._next: int | None = None

    def take(self, rows: Iterable[Any]) -> list[Any]:
        """Take the rows of the page from those that start with its first."""
        taken, has_more = take_page(rows, self.size)
        self._next = self.offset + len(taken) if has_more else None
        return taken

    def pagination(self, **snapshots: int) -> dict[str, Any]:
        """Give the links to the pages beside this one, of the same `snapshots`."""
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


def take_page(rows: Iterable[Any], size: int) -> tuple[list[Any], bool]:
    """Take so many rows, or fewer if these are long, but one; and give whether there are more."""
    taken: list[Any] = []
    byte_count = 0
    for row in rows:
        byte_count += len(dump(row))
        if len(taken) == size or (taken and byte_count > PAGE_BYTES_MAX):
            return taken, True
        taken.append(row)
    return taken, False


def write_cursor(offset: int) -> str:
    """Give an offset as it stands in a URL."""
    return base64.urlsafe_b64encode(b"%d" % offset).decode().rstrip("=")


def read_cursor(text: str | None) -> int:
    """Give the offset that a cursor stands for; without one it is 0. Raises ValidationError."""
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
