"""Who is calling: bearer tokens (simplejwt), made stricter and free of queries."""

import functools
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import RefreshToken, Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from organizations.models import UsedRefreshToken, User
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


def issue_tokens(user: User) -> dict[str, Any]:
    """Make the tokens of a fresh sign-in: the `data` of `POST /auth/token`; seconds."""
    refresh_token = RefreshToken.for_user(user)
    access_token = refresh_token.access_token
    for token in (access_token, refresh_token):
        # A machine whose clock is behind would refuse a token that is yet to be issued.
        del token["iat"]
    return {
        "access_token": str(access_token),
        "refresh_token": str(refresh_token),
        "token_type": "Bearer",
        "expires_in": int(access_token.lifetime.total_seconds()),
    }


def exchange_refresh_token(encoded: str) -> dict[str, Any]:
    """Use a refresh token up for new tokens.

    Raises AuthenticationFailed (401) if it is forged, expired or used, or if its user has been
    deactivated or deleted, or has another password now.
    """
    try:
        refresh_token = RefreshToken(encoded)  # type: ignore[arg-type]
    except (TokenError, OverflowError, OSError, TypeError, ValueError):
        raise AuthenticationFailed("The refresh token is invalid or expired.") from None
    user = User.objects.filter(pk=read_user_id(refresh_token), is_active=True).first()
    if user is None:
        raise AuthenticationFailed("The user no longer exists or is deactivated.")
    if refresh_token.get(api_settings.REVOKE_TOKEN_CLAIM) != get_md5_hash_password(user.password):
        raise AuthenticationFailed("The password has been changed; sign in again.")
    expires_at = datetime.fromtimestamp(refresh_token["exp"], tz=UTC)
    try:
        UsedRefreshToken.use_up(str(refresh_token["jti"]), expires_at)
    except ValidationError as error:
        raise AuthenticationFailed(error.message) from None
    return issue_tokens(user)
