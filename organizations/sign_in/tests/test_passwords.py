"""The rules for new passwords."""

from pathlib import Path

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import TestCase

from organizations.models import User
from organizations.sign_in.passwords import CONTEXT_WORDS

USER = User(username="olivia.vance", email="olivia@lakeside.example")


class PasswordTests(TestCase):
    def test_easy_passwords_are_refused(self):
        for password, words in (
            ("s3v3n.c", "at least 8 characters"),
            ("iloveyou1", "too common"),
            ("olivia.vance1", "too similar to the username"),
            ("lakeside.example", "too similar to the email"),
            ("rivergen2026!", "8 characters besides words"),
            ("Admin-Database-1", "8 characters besides words"),
        ):
            with self.subTest(password=password):
                with self.assertRaises(ValidationError) as refused:
                    validate_password(password, USER)
                self.assertIn(words, " ".join(refused.exception.messages))

    def test_passwords_of_any_characters_are_accepted(self):
        for password in (
            *("nine lives", "ninelives of", "  a  b   c d", "ÄÖÜ ßß ¡¿ ñ", "🔑🐈🌊🪵🧭🍋🦉🏔"),
            *("ONLYUPPERCASE", "!!!???...,,,", "the owner of nine database elephants", "x y" * 40),
        ):
            with self.subTest(password=password):
                validate_password(password, USER)

    def test_words_that_are_refused_are_documented(self):
        page = Path(settings.BASE_DIR, "docs", "sign-in.md").read_text(encoding="utf-8")
        for word in CONTEXT_WORDS:
            self.assertIn(f"`{word}`", page)

    def test_new_database_has_no_user(self):
        self.assertFalse(User.objects.exists())
