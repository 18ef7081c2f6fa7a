"""Authentication by bearer tokens: simplejwt's, stricter and without queries."""

import functools
from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework_simplejwt import state
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import (
    InvalidToken,
    TokenBackendError,
    TokenBackendExpiredToken,
    TokenError,
)
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from organizations.models import User
from rivergen.http.input import read_id
from rivergen.observability.logs import note
from rivergen.postgresql.acting_user import act_as_member

TOKENS_REMEMBERED = 1_024


class RotatedKeysBackend(TokenBackend):
    """simplejwt's backend, which also accepts the tokens of SECRET_KEY_FALLBACKS."""

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        try:
            return super().decode(token, verify)
        except TokenBackendError:
            for key in settings.TOKEN_KEYS[1:]:
                older = token_backend(TokenBackend, key)
                try:
                    return older.decode(token, verify)
                except TokenBackendExpiredToken:
                    raise
                except TokenBackendError:
                    continue
            raise


def token_backend(backend: type[TokenBackend], key: str) -> TokenBackend:
    """Return a backend for the tokens that a key signs."""
    return backend(
        api_settings.ALGORITHM, key, audience=api_settings.AUDIENCE, issuer=api_settings.ISSUER
    )


# All token classes of simplejwt use this backend. It has no setting for the class.
state.token_backend = token_backend(RotatedKeysBackend, settings.TOKEN_KEYS[0])


class BearerAuthentication(JWTAuthentication):
    """Authenticate by `Authorization: Bearer <access_token>`, without a database query.

    `request.user` is a User with only its id loaded; other fields are deferred. The query that
    fetches the requested rows checks that the user exists, is active and is a member: each
    `for_user` joins the user.
    """

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"

    def get_validated_token(self, raw_token: bytes) -> Token:
        try:
            token = verified(raw_token)
            token.check_exp(current_time=timezone.now())
            return token
        except TokenError:  # expired since it was cached
            return super().get_validated_token(raw_token)
        except (OverflowError, OSError, TypeError, ValueError):
            # simplejwt does not catch these, for instance if `exp` of a signed token is no date.
            raise InvalidToken("The token is invalid.") from None

    def get_user(self, validated_token: Token) -> User:  # type: ignore[override]
        user_id = read_user_id(validated_token)
        note(user_id=user_id)
        act_as_member(user_id)
        return User.from_db(None, ["id"], [user_id])


@functools.lru_cache(maxsize=TOKENS_REMEMBERED)
def verified(raw_token: bytes) -> Token:
    """Return the claims of a token, from a cache if it was verified before: decoding is slow.

    The caller must check whether the token has expired. Raises InvalidToken (401).
    """
    return JWTAuthentication().get_validated_token(raw_token)


def caller(request: Request) -> User:
    """Return the user of the access token; only the id is loaded.

    Raises NotAuthenticated (401) without a token; usually a permission class has raised it before.
    """
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


def read_user_id(token: Token) -> int:
    """Return the user id in a token. Raises InvalidToken (401) if the claim is no id.

    simplejwt passes the claim to the database unchecked, where `true` is user 1 and "x" an error.
    """
    claim = token.get(api_settings.USER_ID_CLAIM)
    user_id = read_id(str(claim)) if type(claim) in (int, str) else 0
    if not user_id:
        raise InvalidToken("The token names no user.")
    return user_id
