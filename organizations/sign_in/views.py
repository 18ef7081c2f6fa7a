"""Signing in over HTTP, and exchanging refresh tokens."""

from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from organizations.sign_in import openapi
from organizations.sign_in.attempts import sign_in
from organizations.sign_in.serializers import (
    TokenRefreshRequestSerializer,
    TokenRequestSerializer,
)
from organizations.sign_in.throttling import SignInThrottle, SiteThrottle
from organizations.sign_in.tokens import exchange_refresh_token, issue_tokens
from organizations.writing import retried
from rivergen.http.addresses import client_network
from rivergen.http.input import read_body
from rivergen.http.openapi.describing import describe
from rivergen.http.responses import SecretResponse


class SignInView(APIView):
    """The base of the views that issue tokens; they need no token themselves."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (SignInThrottle, SiteThrottle)
    http_method_names = ["post"]

    def get_authenticate_header(self, request: Request) -> str:
        return "Bearer"


class TokenView(SignInView):
    """`POST /auth/token`: sign in with a password."""

    @describe(**openapi.SIGN_IN)
    @retried
    def post(self, request: Request) -> Response:
        """Exchange a username and password for an access and a refresh token."""
        serializer = TokenRequestSerializer(data=read_body(request))
        serializer.is_valid(raise_exception=True)
        user = sign_in(**serializer.validated_data, address=client_network(request))
        if user is None:
            raise AuthenticationFailed("The username or the password is wrong.")
        return SecretResponse(issue_tokens(user), "Signed in successfully")


class TokenRefreshView(SignInView):
    """`POST /auth/token/refresh`: stay signed in."""

    @describe(**openapi.REFRESH)
    @retried
    def post(self, request: Request) -> Response:
        """Exchange a refresh token for a new pair of tokens; each refresh token works once."""
        serializer = TokenRefreshRequestSerializer(data=read_body(request))
        serializer.is_valid(raise_exception=True)
        tokens = exchange_refresh_token(serializer.validated_data["refresh_token"])
        return SecretResponse(tokens, "Token refreshed successfully")
