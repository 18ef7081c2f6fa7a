"""Access and refresh tokens: issued at sign-in, and exchanged for new ones."""

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from rest_framework_simplejwt.tokens import RefreshToken

from organizations.authentication import REVOKED, read_token, read_user_id
from organizations.models import User
from organizations.sign_in.models import UsedRefreshToken
from rivergen.http.exceptions import InvalidToken

# The claim with `User.token_generation`. A token without it is of the first generation.
GENERATION_CLAIM = "token_generation"
PASSWORD_CHANGED = "The token has been revoked: the password was changed. Sign in again."


def issue_tokens(user: User) -> dict[str, Any]:
    """Return a new pair of tokens: the `data` of `POST /auth/token`. `expires_in` is in seconds."""
    refresh_token = RefreshToken.for_user(user)
    refresh_token[GENERATION_CLAIM] = user.token_generation
    access_token = refresh_token.access_token
    for token in (access_token, refresh_token):
        # A machine whose clock is behind would refuse a token issued in its future.
        del token["iat"]
    return {
        "access_token": str(access_token),
        "refresh_token": str(refresh_token),
        "token_type": "Bearer",
        "expires_in": int(access_token.lifetime.total_seconds()),
    }


def exchange_refresh_token(encoded: str) -> dict[str, Any]:
    """Mark a refresh token as used, and return a new pair of tokens.

    Raises InvalidToken (401) if the token is forged, expired or used, or if its user is
    deactivated, deleted or has changed the password.
    """
    refresh_token = read_token(RefreshToken, encoded)
    user = User.objects.filter(pk=read_user_id(refresh_token), is_active=True).first()
    if user is None:
        raise InvalidToken(REVOKED)
    if refresh_token.get(GENERATION_CLAIM, 0) != user.token_generation:
        raise InvalidToken(PASSWORD_CHANGED)
    expires_at = datetime.fromtimestamp(refresh_token["exp"], tz=UTC)
    try:
        UsedRefreshToken.use_up(str(refresh_token["jti"]), expires_at)
    except ValidationError as error:
        raise InvalidToken(error.message) from None
    return issue_tokens(user)
