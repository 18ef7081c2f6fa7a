"""UsedRefreshToken: a refresh token is exchanged once."""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.test import TestCase
from django.utils import timezone

from organizations.sign_in.models import UsedRefreshToken


class UsedRefreshTokenTests(TestCase):
    def test_refresh_token_cannot_be_used_up_twice(self):
        expires_at = timezone.now() + timedelta(days=7)
        UsedRefreshToken.use_up("a", expires_at)
        UsedRefreshToken.use_up("b", expires_at)
        with self.assertRaises(ValidationError):
            UsedRefreshToken.use_up("a", expires_at + timedelta(days=1))
        used = UsedRefreshToken.objects.order_by("jti").values_list("jti", "expires_at")
        self.assertEqual([*used], [("a", expires_at), ("b", expires_at)])

    def test_using_up_a_refresh_token_deletes_expired_ones(self):
        now = timezone.now()
        UsedRefreshToken.objects.create(jti="old", expires_at=now - timedelta(seconds=1))
        UsedRefreshToken.objects.create(jti="young", expires_at=now + timedelta(days=1))
        UsedRefreshToken.use_up("new", now + timedelta(days=7))
        used = UsedRefreshToken.objects.values_list("jti", flat=True)
        self.assertEqual({*used}, {"young", "new"})
