"""Why a caller gets 401: the message, and the challenge of RFC 6750, section 3."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import time_machine
from django.conf import settings
from django.test.utils import ignore_warnings
from jwt.warnings import InsecureKeyLengthWarning
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from datasources.testing import DataSourceTestCase
from organizations.models import User
from organizations.sign_in.tokens import issue_tokens
from organizations.testing import PASSWORD, bearer, signed_claims, sql

# RFC 6750, section 3: %x20-21 / %x23-5B / %x5D-7E
CHALLENGE = re.compile(r'Bearer error="invalid_token", error_description="([ !#-\[\]-~]+)"')
WHAT_TO_SEND = "Authorization: Bearer <access_token>"


class ChallengeTests(DataSourceTestCase):
    def signed(self, key: str = settings.TOKEN_KEYS[0], **changes: Any) -> str:
        claims = {**signed_claims(AccessToken.for_user(self.editor)), **changes}
        return jwt.encode({k: v for k, v in claims.items() if v is not ...}, key, "HS256")

    def assert_challenged(self, response: Any, *words: str) -> None:
        """Assert that message and challenge say the same, with these words."""
        message = self.assert_error(response, 401, "UNAUTHORIZED")["message"]
        challenge = CHALLENGE.fullmatch(response["WWW-Authenticate"])
        assert challenge is not None, response["WWW-Authenticate"]
        self.assertEqual(challenge[1], message)
        for word in words:
            self.assertIn(word, message)

    def assert_refused(self, authorization: str, *words: str) -> None:
        for path in ("/me", "/data-sources", "/organizations", self.path, "/data-source-types"):
            with self.subTest(path=path), self.statements() as captured:
                response = self.call("get", path, headers={"Authorization": authorization})
                self.assert_challenged(response, *words)
        # Only an account that has to be looked up takes a query.
        self.queries = sql(captured)

    def assert_bare(self, response: Any) -> None:
        message = self.assert_error(response, 401, "UNAUTHORIZED")["message"]
        self.assertEqual(response["WWW-Authenticate"], "Bearer")
        self.assertIn(WHAT_TO_SEND, message)

    def test_without_bearer_credentials_the_challenge_is_bare_and_says_what_to_send(self):
        token = AccessToken.for_user(self.editor)
        for authorization in (
            *(None, "", " ", "Basic b2xpdmlhOnB3", f"Basic {token}", f"Token {token}"),
            *(f"{token}", f"Bearer={token}", f"Bearer:{token}", f"Bearer, {token}", "Digest a=b"),
        ):
            headers = {} if authorization is None else {"Authorization": authorization}
            for path in ("/me", "/data-sources", self.path):
                with self.subTest(authorization=authorization, path=path):
                    response = self.call("get", path, headers=headers)
                    self.assert_bare(response)
                    self.assertNotIn(str(token), response.content.decode())

    def test_scheme_ignores_case_and_spaces_around_the_token(self):
        token = AccessToken.for_user(self.editor)
        for authorization in (
            *(f"bearer {token}", f"BEARER {token}", f"bEaReR {token}"),
            *(f"Bearer   {token}", f"Bearer\t{token}", f"  Bearer {token} "),
        ):
            with self.subTest(authorization=authorization[:12]):
                response = self.call("get", "/me", headers={"Authorization": authorization})
                self.assertEqual(response.status_code, 200)

    def test_header_without_a_token_or_with_more_words_is_named(self):
        token = AccessToken.for_user(self.editor)
        for authorization in ("Bearer", "bearer ", "Bearer  \t "):
            with self.subTest(authorization=authorization):
                self.assert_refused(authorization, "no token", WHAT_TO_SEND)
        for authorization in (f"Bearer {token} {token}", f"bearer a b c {token}", "Bearer a, b"):
            with self.subTest(authorization=authorization[:12]):
                self.assert_refused(authorization, "more than one word", WHAT_TO_SEND)

    def test_expired_token_is_named_also_if_it_was_verified_before(self):
        seen, unseen = self.signed(), self.signed(jti="other")
        headers = {"Authorization": f"Bearer {seen}"}
        self.assertEqual(self.call("get", "/me", headers=headers).status_code, 200)
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16)):
            for token in (seen, unseen):
                self.assert_refused(f"Bearer {token}", "expired", "/api/v1/auth/token/refresh")
                self.assertEqual(self.queries, [])

    @ignore_warnings(category=InsecureKeyLengthWarning)
    def test_forged_token_is_named_and_nothing_of_it_is_told(self):
        past = int(datetime.now(UTC).timestamp()) - 60
        head, _, signature = self.signed().split(".")
        for name, token in {
            "key": self.signed(key="k" * 64),
            "expired": self.signed(key="k" * 64, exp=past),
            "kind": self.signed(key="k" * 64, token_type="refresh"),
            "user": self.signed(key="k" * 64, user_id="hunter2"),
            "payload": f"{head}.{self.signed(user_id=1).split('.')[1]}.{signature}",
            "cut": self.signed()[:-3],
            "algorithm": jwt.encode({"exp": past}, "", algorithm="none"),
            "nested payload": f"{head}.{'W1tb' * 1000}.e30",
            "issuer": self.signed(iss="hunter2"),
            "audience": self.signed(aud="hunter2"),
            "no issuer": self.signed(iss=...),
        }.items():
            with self.subTest(name):
                self.assert_refused(f"Bearer {token}", "not issued by this service")
                self.assertEqual(self.queries, [])

    def test_text_that_is_no_token_is_named_in_the_challenge(self):
        head, payload, signature = self.signed().split(".")
        for token in (
            *("null", "undefined", "abc", "é", "bnVsbA.bnVsbA.bnVsbA", "W10.W10.W10", "x" * 7000),
            *(f"{head}.{payload}", f"{head}.{payload}.{signature}.", f"..{signature}", '"', "\\"),
            f'"{head}.{payload}.{signature}"',
            "W1tb" * 1500 + ".e30.e30",
        ):
            with self.subTest(token=token[:30]):
                self.assert_refused(f"Bearer {token}", "not a token")
                self.assertEqual(self.queries, [])

    def test_token_of_another_kind_is_named(self):
        self.assert_refused(f"Bearer {RefreshToken.for_user(self.editor)}", "another kind")
        for kind in ("", None, 1, "sliding", ...):
            with self.subTest(kind=kind):
                token = self.signed(token_type=kind)
                self.assert_refused(f"Bearer {token}", "another kind", "access token")

    def test_claims_that_name_no_user_are_named(self):
        for user_id in ("x", True, 0, -1, None, 2**63, [], ...):
            with self.subTest(user_id=user_id):
                self.assert_refused(f"Bearer {self.signed(user_id=user_id)}", "names no user")

    def test_signed_claims_that_are_out_of_order_are_refused(self):
        for changes in ({"exp": ...}, {"exp": "soon"}, {"jti": ...}, {"nbf": 9_999_999_999}):
            with self.subTest(changes=changes):
                self.assert_refused(f"Bearer {self.signed(**changes)}")

    def test_token_of_a_deactivated_or_deleted_user_is_revoked(self):
        deactivated, deleted = bearer(self.editor), bearer(self.admin)
        User.objects.filter(pk=self.editor.pk).update(is_active=False)
        self.admin.delete()
        for authorization in (deactivated, deleted):
            self.assert_refused(authorization, "revoked", "deactivated or deleted")

    def test_writes_say_why_they_are_refused(self):
        with time_machine.travel(datetime.now(UTC) - timedelta(hours=1)):
            old = bearer(self.owner)
        for method, path in (
            ("patch", self.path),
            ("delete", self.path),
            ("post", "/data-sources"),
        ):
            with self.subTest(method=method):
                response = self.call(method, path, b"{", headers={"Authorization": old})
                self.assert_challenged(response, "expired")

    def refresh(self, token: Any) -> Any:
        return self.call("post", "/auth/token/refresh", {"refresh_token": str(token)})

    @ignore_warnings(category=InsecureKeyLengthWarning)
    def test_refused_refresh_token_says_why(self):
        tokens = issue_tokens(self.editor)
        self.assert_challenged(
            self.refresh(tokens["access_token"]), "another kind", "refresh token"
        )
        for text in ("null", "x", "é", "a.b.c", '"', "\n"):
            self.assert_challenged(self.refresh(text), "not a token")
        forged = self.signed(key="k" * 64, token_type="refresh")
        self.assert_challenged(self.refresh(forged), "not issued by this service")
        nobody = self.signed(token_type="refresh", user_id="x")
        self.assert_challenged(self.refresh(nobody), "names no user")
        with time_machine.travel(datetime.now(UTC) + timedelta(days=8)):
            response = self.refresh(tokens["refresh_token"])
            self.assert_challenged(response, "expired", "/api/v1/auth/token")
        self.assertEqual(self.refresh(tokens["refresh_token"]).status_code, 200)
        self.assert_challenged(self.refresh(tokens["refresh_token"]), "used")
        revoked = issue_tokens(self.editor)["refresh_token"]
        self.editor.set_password(f"{PASSWORD}2")
        self.editor.save()
        self.assert_challenged(self.refresh(revoked), "revoked", "password")
        User.objects.filter(pk=self.editor.pk).update(is_active=False)
        self.assert_challenged(self.refresh(revoked), "revoked", "deactivated or deleted")

    def test_wrong_password_is_no_fault_of_a_token(self):
        response = self.call("post", "/auth/token", {"username": "edith", "password": "wrong"})
        self.assert_error(response, 401, "UNAUTHORIZED")
        self.assertEqual(response["WWW-Authenticate"], "Bearer")
