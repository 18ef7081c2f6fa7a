"""How often an address may ask for tokens."""

from django.conf import settings
from rest_framework.request import Request

from organizations.models import RequestCount
from rivergen.throttling import WindowThrottle


class SignInThrottle(WindowThrottle):
    """`RATE_LIMIT_TOKEN` for each address, over all processes: passwords are guessed here."""

    limit, seconds = settings.RATE_LIMIT_TOKEN

    def caller(self, request: Request) -> str:
        address: str = self.get_ident(request)
        return address[:64]

    def count(self, caller: str, window: int) -> int:
        return RequestCount.add("token", caller, window)
