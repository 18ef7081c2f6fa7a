"""What only the pages need that a browser shows: sessions, their users, and messages."""

from typing import Any

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from rivergen.observability.logs import note


class PagesOnly(MiddlewareMixin):
    """Lets requests of the API pass by: they bring a token, and have no session."""

    def __call__(self, request: HttpRequest) -> Any:
        is_page = not request.path_info.startswith("/api/")
        return super().__call__(request) if is_page else self.get_response(request)


class SessionMiddleware(PagesOnly, sessions.SessionMiddleware):
    """The session of a browser."""


class AuthenticationMiddleware(PagesOnly, auth.AuthenticationMiddleware):
    """The user of a session."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        # It is there if somebody has asked for it, which may cost a query.
        user = getattr(request, "_cached_user", None)
        if user is not None and user.pk:
            note(user_id=user.pk)
        return response


class MessageMiddleware(PagesOnly, messages.MessageMiddleware):
    """What the last page had to say."""
