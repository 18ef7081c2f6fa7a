"""Sessions, their users and messages: Django's middleware, for HTML pages only."""

from typing import Any

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from rivergen.http.sessions import SIGNED_IN_AT
from rivergen.observability.logs import note


class PagesOnly(MiddlewareMixin):
    """Skip a middleware for requests to the API: they have a token, and no session."""

    def __call__(self, request: HttpRequest) -> Any:
        is_page = not request.path_info.startswith("/api/")
        return super().__call__(request) if is_page else self.get_response(request)


class SessionMiddleware(PagesOnly, sessions.SessionMiddleware):
    """Load and save the session of a browser."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> Any:
        # Saving a session that is used postpones its end.
        if request.session.accessed and SIGNED_IN_AT in request.session:
            request.session.modified = True
        return super().process_response(request, response)


class AuthenticationMiddleware(PagesOnly, auth.AuthenticationMiddleware):
    """Set `request.user` from the session."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        # Note only a user that was already loaded: `request.user` may cost a query.
        user = getattr(request, "_cached_user", None)
        if user is not None and user.pk:
            note(user_id=user.pk)
        return response


class MessageMiddleware(PagesOnly, messages.MessageMiddleware):
    """Show the messages that the previous page left for the next."""
