"""Who is calling: bearer tokens (simplejwt), made stricter and free of queries."""

import functools

from django.utils import timezone
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from organizations.models import User
from rivergen.http.input import read_id
from rivergen.observability.logs import note
from rivergen.postgresql.acting_user import act_as_member

TOKENS_REMEMBERED = 1_024


class BearerAuthentication(JWTAuthentication):
    """Accept `Authorization: Bearer <access_token>`, without looking the user up.

    `request.user` is a User of which only the id is known; anything else would be read when asked
    for. Whether the user still exists, is active and is a member is decided by the query that
    fetches what the request is about: each `for_user` joins the user.
    """

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"

    def get_validated_token(self, raw_token: bytes) -> Token:
        try:
            token = verified(raw_token)
            token.check_exp(current_time=timezone.now())
            return token
        except TokenError:  # it has expired since it was verified
            return super().get_validated_token(raw_token)
        except (OverflowError, OSError, TypeError, ValueError):
            # A signed token whose `exp` is no date, say: simplejwt lets these escape.
            raise InvalidToken("The token is invalid.") from None

    def get_user(self, validated_token: Token) -> User:  # type: ignore[override]
        user_id = read_user_id(validated_token)
        note(user_id=user_id)
        act_as_member(user_id)
        return User.from_db(None, ["id"], [user_id])


@functools.lru_cache(maxsize=TOKENS_REMEMBERED)
def verified(raw_token: bytes) -> Token:
    """Give what a token says; one that is sent again is not decoded again, which takes longer.

    Whether it has expired is left to the caller. Raises InvalidToken (401).
    """
    return JWTAuthentication().get_validated_token(raw_token)


def caller(request: Request) -> User:
    """Give the user whose token the request carries; only the id is known without a query.

    Raises NotAuthenticated (401) without a token; the permission classes see to it that views
    never find that out here.
    """
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


def read_user_id(token: Token) -> int:
    """Read the id in the token's claim; raises InvalidToken (401) unless it is one.

    simplejwt hands the claim to the database as it is, where `true` is user 1 and "x" an error.
    """
    claim = token.get(api_settings.USER_ID_CLAIM)
    user_id = read_id(str(claim)) if type(claim) in (int, str) else 0
    if not user_id:
        raise InvalidToken("The token names no user.")
    return user_id
