"""The user that each transaction of a request acts as, for row-level security."""

from collections.abc import Callable
from contextvars import ContextVar

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.http import HttpRequest, HttpResponse

ADMIN_PATH = "/admin/"
METRICS_PATH = "/metrics"

# SQL that ActingUserCursor sends when a transaction starts; empty if there is no acting user.
acting_user: ContextVar[str] = ContextVar("acting_user", default="")


def act_as_member(user_id: int) -> None:
    """Allow this request to see and change the rows of the user's organizations."""
    acting_user.set(f"SELECT rivergen_see_as({user_id:d}); ")


def act_as_staff(user_id: int) -> None:
    """Allow this request to see and change all rows; the database checks that the user is staff."""
    acting_user.set(f"SELECT rivergen_see_all_as({user_id:d}); ")


def act_as_metrics() -> None:
    """Allow this request to read all rows and write none, to count over all organizations."""
    acting_user.set("SELECT rivergen_read_all(); ")


class ActingUserMiddleware:
    """Start each request without acting user; act as staff in the admin, as metrics in `/metrics`.

    For the API, authentication calls `act_as_member` once it has checked the token.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        if not settings.DATABASE_ROW_LEVEL_SECURITY:
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = acting_user.set("")
        try:
            user = request.user if request.path_info.startswith(ADMIN_PATH) else None
            if user is not None and user.is_staff:
                act_as_staff(user.pk)
            if request.path_info == METRICS_PATH:
                act_as_metrics()
            return self.get_response(request)
        finally:
            acting_user.reset(token)
