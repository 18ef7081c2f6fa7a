"""Bodies of the token endpoints."""

from rest_framework import serializers

from rivergen.http.serializers import StrictCharField, StrictSerializer


class TokenRequestSerializer(StrictSerializer):
    """The body of `POST /auth/token`."""

    username = StrictCharField(max_length=150)
    password = StrictCharField(max_length=4096, style={"input_type": "password"})


class TokenRefreshRequestSerializer(StrictSerializer):
    """The body of `POST /auth/token/refresh`."""

    refresh_token = StrictCharField(max_length=4096)


class TokenSerializer(serializers.Serializer):
    """A pair of tokens; `expires_in` is the access token's lifetime in seconds."""

    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    token_type = serializers.ChoiceField(choices=["Bearer"])
    expires_in = serializers.IntegerField()
