"""Bodies of the token endpoints."""

from rest_framework import serializers

from rivergen.http.serializers import StrictCharField, StrictSerializer


class TokenRequestSerializer(StrictSerializer):
    """The name and password of a user."""

    username = StrictCharField(max_length=150, help_text="The name of the user, in its exact case.")
    password = StrictCharField(
        max_length=4096,
        style={"input_type": "password"},
        help_text="The user's password. After some wrong ones, the user and the address must wait.",
    )


class TokenRefreshRequestSerializer(StrictSerializer):
    """A refresh token that has not been used yet."""

    refresh_token = StrictCharField(
        max_length=4096, help_text="The `refresh_token` of the last sign-in or refresh."
    )


class TokenSerializer(serializers.Serializer):
    """An access token for requests, and a refresh token for the next pair."""

    access_token = serializers.CharField(
        help_text="Send it with each request: `Authorization: Bearer <access_token>`."
    )
    refresh_token = serializers.CharField(
        help_text="Exchange it for a new pair before or after the access token expires. Works once."
    )
    token_type = serializers.ChoiceField(
        choices=["Bearer"], help_text="The word that precedes the token in `Authorization`."
    )
    expires_in = serializers.IntegerField(help_text="Seconds until the access token expires.")
