"""Descriptions of the token endpoints for openapi.json."""

from typing import Any

from rest_framework.exceptions import AuthenticationFailed

from organizations.authentication import EXPIRED
from organizations.sign_in.serializers import (
    TokenRefreshRequestSerializer,
    TokenRequestSerializer,
    TokenSerializer,
)
from rivergen.http.exceptions import InvalidToken
from rivergen.http.openapi.examples import answer, body, failure

# Tokens are too long to read; these only look like some.
ACCESS_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiMSJ9.2qD7mCzR0mY0Tn1bY1Zq7wJt3nXg"
REFRESH_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiI4ZTAzIn0.Jd0vQ5wKx7uYp4rT2sN9aLc6hEo"
TOKENS = {
    "access_token": ACCESS_TOKEN,
    "refresh_token": REFRESH_TOKEN,
    "token_type": "Bearer",
    "expires_in": 900,
}
SIGN_IN: dict[str, Any] = {
    "summary": "Sign in",
    "operation_id": "createToken",
    "description": "Exchange a username and a password for an access token, which is valid for 15 "
    "minutes, and a refresh token, which is valid for 7 days. No token is needed. Wrong passwords "
    "are counted: after too many, further attempts have to wait (429).",
    "request": TokenRequestSerializer,
    "response": TokenSerializer,
    "errors": (401,),
    "examples": (
        body(
            "The owner of the demo",
            {"username": "demo-owner", "password": "the password that make run printed"},
        ),
        answer(TOKENS, "Signed in successfully"),
        failure("A wrong password", AuthenticationFailed("The username or the password is wrong.")),
    ),
}
REFRESH: dict[str, Any] = {
    "summary": "Refresh the tokens",
    "operation_id": "refreshToken",
    "description": "Exchange a refresh token for a new pair of tokens. No token is needed in "
    "`Authorization`. Each refresh token works once, so store the new one.",
    "request": TokenRefreshRequestSerializer,
    "response": TokenSerializer,
    "errors": (401,),
    "examples": (
        body("The last refresh token", {"refresh_token": REFRESH_TOKEN}),
        answer(TOKENS, "Token refreshed successfully"),
        failure("An expired refresh token", InvalidToken(EXPIRED["refresh"])),
    ),
}
