"""What a request leaves behind for the next one of the same user."""

from collections.abc import Callable

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse

from organizations.models import User
from rivergen.http.responses import unavailable
from rivergen.postgresql import replica

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class WritePositionMiddleware:
    """Remember how new a replica has to be for a user who has changed something to see it.

    Without a replica it does nothing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        user = getattr(request, "user", None)  # a view of the API sets it, from the token
        has_changed = request.method not in SAFE_METHODS and response.status_code < 400
        is_api = request.path_info.startswith("/api/")
        if not (replica.is_configured() and has_changed and is_api and isinstance(user, User)):
            return response
        try:
            User.remember_write(user.pk)
        except (InterfaceError, OperationalError):
            # As if the commit had not been acknowledged: what is, the user will see.
            return unavailable(request)
        return response
