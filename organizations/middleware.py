"""Read-your-writes: a replica must be as new as the user's last change."""

from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from organizations.models import User
from rivergen.http.responses import unavailable
from rivergen.postgresql import replica

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class WritePositionMiddleware:
    """Store the primary's log position after each change that a user makes over the API.

    A replica answers this user only once it has replayed the log up to there. Does nothing if no
    replica is configured.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        user = getattr(request, "user", None)  # set by API views, from the token
        has_changed = request.method not in SAFE_METHODS and response.status_code < 400
        is_api = request.path_info.startswith("/api/")
        if not (replica.is_configured() and has_changed and is_api and isinstance(user, User)):
            return response
        try:
            User.remember_write(user.pk)
        except (InterfaceError, OperationalError):
            # The change is committed, but without its position a replica could hide it: answer 503.
            return unavailable(request)
        return response
