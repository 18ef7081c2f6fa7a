"""Authentication by bearer tokens: simplejwt's, stricter and without queries."""

import contextlib
import functools
from typing import Any, NoReturn, TypeVar

import jwt
from django.conf import settings
from django.utils import timezone
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework_simplejwt import state
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import (
    ExpiredTokenError,
    TokenBackendError,
    TokenBackendExpiredToken,
    TokenError,
)
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import AccessToken, Token, UntypedToken

from organizations.models import User
from rivergen.http.exceptions import InvalidToken
from rivergen.http.input import read_id
from rivergen.observability.logs import note
from rivergen.postgresql.acting_user import act_as_member

TOKENS_REMEMBERED = 1_024

SEND_A_TOKEN = (
    "Send the header Authorization: Bearer <access_token>, with a token of POST /api/v1/auth/token."
)
NO_TOKEN = f"The request has no bearer token. {SEND_A_TOKEN}"
EXPIRED = {
    "access": "The access token has expired. Exchange the refresh token for a new one at "
    "POST /api/v1/auth/token/refresh.",
    "refresh": "The refresh token has expired. Sign in again at POST /api/v1/auth/token.",
}
REVOKED = "The token has been revoked: its user is deactivated or deleted."
FORGED = "The token was not issued by this service, or has been altered."
MALFORMED = "This is not a token of this service: it cannot be decoded."
# PyJWT checks the signature first, so only the holder of a genuine token learns of the others.
FORGERIES = (
    jwt.InvalidSignatureError,
    jwt.InvalidAlgorithmError,
    jwt.InvalidAudienceError,
    jwt.InvalidIssuerError,
    jwt.MissingRequiredClaimError,
)

T = TypeVar("T", bound=Token)


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

    def get_raw_token(self, header: bytes) -> bytes | None:
        scheme, *words = header.split() or [b""]
        if scheme.lower() != b"bearer":
            return None
        if len(words) == 1:
            return words[0]
        number = "more than one word" if words else "no token"
        raise InvalidToken(f"The Authorization header has {number} after Bearer. {SEND_A_TOKEN}")

    def get_validated_token(self, raw_token: bytes) -> Token:
        token = verified(raw_token)
        try:
            token.check_exp(current_time=timezone.now())
        except TokenError:  # expired since it was cached
            raise InvalidToken(EXPIRED["access"]) from None
        return token

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
    return read_token(AccessToken, raw_token)


def read_token(kind: type[T], encoded: Any) -> T:
    """Return a token of this kind. Raises InvalidToken (401), which says why it is refused."""
    try:
        return kind(encoded)
    except (TokenError, OverflowError, OSError, TypeError, ValueError) as error:
        # simplejwt lets the others pass, for instance if `exp` of a signed token is no date.
        refuse_token(kind, encoded, error)


def refuse_token(kind: type[Token], encoded: Any, error: Exception) -> NoReturn:
    """Raise InvalidToken (401) for a token that simplejwt refused with this error.

    The reason reveals nothing of a token without a valid signature.
    """
    name = str(kind.token_type)
    decoding_error = error.__cause__ and error.__cause__.__cause__
    if isinstance(error, ExpiredTokenError):
        raise InvalidToken(EXPIRED[name]) from None
    if isinstance(decoding_error, FORGERIES):
        raise InvalidToken(FORGED) from None
    if decoding_error is None and isinstance(error, TokenError):
        with contextlib.suppress(TokenError):
            UntypedToken(encoded)
            sentence = f"The token is of another kind. Send the {name} token here."
            raise InvalidToken(sentence) from None
    raise InvalidToken(MALFORMED) from None


def caller(request: Request) -> User:
    """Return the user of the access token; only the id is loaded.

    Raises NotAuthenticated (401) without a token; usually a permission class has raised it before.
    """
    if not isinstance(request.user, User):
        raise NotAuthenticated(NO_TOKEN)
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
