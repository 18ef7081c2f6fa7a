"""Hashes of passwords: Argon2id, and the upgrade of older hashes."""

from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password
from django.test import override_settings

from organizations.models import User
from organizations.sign_in.hashing import Argon2idPasswordHasher
from organizations.testing import PASSWORD, APITestCase

ARGON2ID = f"{Argon2idPasswordHasher.__module__}.{Argon2idPasswordHasher.__name__}"
HASHERS = [ARGON2ID, "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
NEW_PASSWORD = "another correct horse"


@override_settings(PASSWORD_HASHERS=HASHERS)
class HashingTests(APITestCase):
    def sign_in(self, password: str = PASSWORD) -> Any:
        return self.call("post", "/auth/token", {"username": "edith", "password": password})

    def refresh(self, token: str) -> int:
        status: int = self.call("post", "/auth/token/refresh", {"refresh_token": token}).status_code
        return status

    def outdate(self) -> None:
        """Store the hash of the editor's password as PBKDF2."""
        outdated = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1_000)
        User.objects.filter(pk=self.editor.pk).update(password=outdated)

    def stored(self) -> str:
        return User.objects.get(pk=self.editor.pk).password

    def test_passwords_are_hashed_by_argon2id_with_the_parameters_of_owasp(self):
        self.editor.set_password(PASSWORD)
        self.assertIn("$argon2id$v=19$m=19456,t=2,p=1$", self.editor.password)
        self.assertTrue(check_password(PASSWORD, self.editor.password))

    def test_sign_in_replaces_an_outdated_hash_and_keeps_refresh_tokens_valid(self):
        self.outdate()
        before = self.sign_in("wrong")
        self.assertEqual(before.status_code, 401)
        self.assertTrue(self.stored().startswith("pbkdf2"))
        self.outdate()
        old_token = self.sign_in().json()["data"]["refresh_token"]
        self.outdate()
        new_token = self.sign_in().json()["data"]["refresh_token"]
        self.assertTrue(self.stored().startswith("argon2"))
        self.assertEqual([self.refresh(old_token), self.refresh(new_token)], [200, 200])

    def test_a_changed_password_ends_refresh_tokens(self):
        for saved in ({}, {"update_fields": ["password"]}):
            with self.subTest(saved):
                self.editor.set_password(PASSWORD)
                self.editor.save()
                token = self.sign_in().json()["data"]["refresh_token"]
                self.editor.set_password(NEW_PASSWORD)
                self.editor.save(**saved)
                self.assertEqual(self.refresh(token), 401)
                self.assertEqual(self.sign_in(NEW_PASSWORD).status_code, 200)

    def test_upgrade_of_a_hash_does_not_undo_a_concurrent_change_of_the_password(self):
        self.outdate()
        read_before = User.objects.get(pk=self.editor.pk)
        self.editor.set_password(NEW_PASSWORD)
        self.editor.save()
        self.assertTrue(read_before.check_password(PASSWORD))
        self.assertTrue(check_password(NEW_PASSWORD, self.stored()))
