"""Who is asking, as each transaction of a request says it where there is row-level security."""

from collections.abc import Callable
from contextvars import ContextVar

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse

PAGES_OF_STAFF = "/admin/"
METRICS = "/metrics"

# What goes before the first statement of each transaction; empty: nobody is asking.
entrance: ContextVar[str] = ContextVar("entrance", default="")


def see_as(user_id: int) -> None:
    """Let the transactions of this request see what the organizations of a user have."""
    entrance.set(f"SELECT rivergen_see_as({user_id:d}); ")


def see_all_as(user_id: int) -> None:
    """Let them see all, if the user is active staff; the database looks that up by itself."""
    entrance.set(f"SELECT rivergen_see_all_as({user_id:d}); ")


def read_all() -> None:
    """Let them see all, and write nothing: for what is counted over all organizations."""
    entrance.set("SELECT rivergen_read_all(); ")


class EntranceMiddleware:
    """Begin each request as nobody; let staff see all in their pages, and there only.

    The metrics are counted among all, by transactions that may only read.

    Whose token a request of the API brings, its authentication says.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not settings.DATABASE_ROW_LEVEL_SECURITY:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = entrance.set("")
        try:
            user = request.user if request.path_info.startswith(PAGES_OF_STAFF) else None
            if user is not None and user.is_staff:
                see_all_as(user.pk)
            if request.path_info == METRICS:
                read_all()
            return self.get_response(request)
        finally:
            entrance.reset(token)
