"""POST /api/v1/auth/token and /api/v1/auth/token/refresh."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import jwt
import time_machine
from django.conf import settings
from django.test.utils import ignore_warnings
from jwt.warnings import InsecureKeyLengthWarning
from rest_framework.test import APIClient
from rest_framework_simplejwt import state
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from organizations.models import User
from organizations.sign_in.models import UsedRefreshToken
from organizations.testing import PASSWORD, APITestCase, signed_claims
from rivergen.env import derive_token_key


class TokenTests(APITestCase):
    def sign_in(self, username: str = "edith", password: str = PASSWORD) -> Any:
        return self.call("post", "/auth/token", {"username": username, "password": password})

    def refresh(self, token: Any) -> Any:
        return self.call("post", "/auth/token/refresh", {"refresh_token": str(token)})

    def assert_unauthorized(self, response: Any) -> None:
        self.assert_error(response, 401, "UNAUTHORIZED")
        self.assertRegex(response["WWW-Authenticate"], r"^Bearer( error=|$)")

    def assert_signs_in(self, tokens: dict[str, Any], user: User) -> None:
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        response: Any = self.call("get", "/me", headers=headers)
        self.assertEqual(response.json()["data"]["id"], user.pk)

    def test_sign_in_returns_tokens(self):
        response = self.sign_in()
        self.assertEqual(response.status_code, 200)
        body = response.json()
        self.assertEqual(list(body), ["success", "data", "message"])
        self.assertIs(body["success"], True)
        tokens = body["data"]
        names = ["access_token", "refresh_token", "token_type", "expires_in"]
        self.assertEqual(list(tokens), names)
        self.assertEqual(tokens["token_type"], "Bearer")
        self.assertEqual(tokens["expires_in"], 900)
        self.assert_signs_in(tokens, self.editor)

    def test_a_user_of_no_organization_signs_in(self):
        self.assert_signs_in(self.sign_in("leo").json()["data"], self.loner)

    def test_expires_in_matches_the_exp_claim(self):
        now = datetime.now(UTC).replace(microsecond=0)
        with time_machine.travel(now, tick=False):
            access_token = self.sign_in().json()["data"]["access_token"]
            claims = AccessToken(access_token).payload
        self.assertEqual(claims["exp"] - now.timestamp(), 900)

    def test_tokens_are_valid_on_servers_with_another_clock(self):
        for minutes in (5, -5):
            with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes)):
                tokens = self.sign_in().json()["data"]
            self.assert_signs_in(tokens, self.editor)
            self.assertEqual(self.refresh(tokens["refresh_token"]).status_code, 200)

    def test_sign_in_ignores_an_authorization_header(self):
        data = {"username": "edith", "password": PASSWORD}
        response = self.call("post", "/auth/token", data, headers={"Authorization": "Bearer old"})
        self.assertEqual(response.status_code, 200)

    def test_sign_in_refuses_a_wrong_password(self):
        for password in ("wrong", PASSWORD + " ", " " + PASSWORD, PASSWORD.upper()):
            with self.subTest(password=password):
                self.assert_unauthorized(self.sign_in(password=password))

    def test_sign_in_refuses_an_unknown_user(self):
        for username in ("nobody", "EDITH", "edith ", "olivia@example.com"):
            with self.subTest(username=username):
                self.assert_unauthorized(self.sign_in(username))

    def test_unknown_user_and_wrong_password_get_the_same_message(self):
        unknown, wrong = self.sign_in("nobody").json(), self.sign_in(password="wrong").json()
        self.assertEqual(unknown["error"]["message"], wrong["error"]["message"])

    def test_sign_in_refuses_a_deactivated_user(self):
        User.objects.filter(pk=self.editor.pk).update(is_active=False)
        self.assert_unauthorized(self.sign_in())

    def test_sign_in_refuses_a_user_without_a_usable_password(self):
        self.editor.set_unusable_password()
        self.editor.save()
        self.assert_unauthorized(self.sign_in(password=self.editor.password))

    def test_sign_in_names_invalid_fields(self):
        good = {"username": "edith", "password": PASSWORD}
        for data, fields in (
            ({}, ["username", "password"]),
            ({"username": "edith"}, ["password"]),
            ({"password": PASSWORD}, ["username"]),
            ({"username": 7, "password": None}, ["username", "password"]),
            ({"username": ["edith"], "password": {"a": 1}}, ["username", "password"]),
            ({"username": "", "password": ""}, ["username", "password"]),
            ({"username": True, "password": PASSWORD}, ["username"]),
            ({"username": "e\0", "password": "p\0"}, ["username", "password"]),
            ({"username": "e" * 151, "password": "p" * 4097}, ["username", "password"]),
            ({**good, "scope": "all"}, ["scope"]),
        ):
            with self.subTest(data=data):
                response = self.call("post", "/auth/token", data)
                self.assert_error(response, 400, "BAD_REQUEST", *fields)

    def test_sign_in_suggests_the_nearest_field_name(self):
        data = {"usernme": "edith", "password": PASSWORD}
        error = self.assert_error(
            self.call("post", "/auth/token", data), 400, "BAD_REQUEST", "username", "usernme"
        )
        self.assertIn("username", error["details"]["usernme"][0])

    def test_token_endpoints_refuse_bodies_that_are_not_json_objects(self):
        for path in ("/auth/token", "/auth/token/refresh"):
            for body in (b"", b"[]", b"null", b'"edith"', b"{", b"\xff", b'{"username": NaN}'):
                with self.subTest(path=path, body=body):
                    self.assert_error(self.call("post", path, body), 400, "BAD_REQUEST")

    def test_token_endpoints_refuse_media_types_other_than_json(self):
        for path in ("/auth/token", "/auth/token/refresh"):
            for media_type in (
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "text/plain",
                "application/merge-patch+json",
            ):
                with self.subTest(path=path, media_type=media_type):
                    response = self.call("post", path, b"{}", content_type=media_type)
                    self.assert_error(response, 415, "UNSUPPORTED_MEDIA_TYPE")

    def test_token_endpoints_refuse_methods_other_than_post(self):
        for path in ("/api/v1/auth/token", "/api/v1/auth/token/refresh"):
            for method in ("get", "put", "patch", "delete", "options"):
                with self.subTest(path=path, method=method):
                    response = getattr(APIClient(), method)(path)
                    self.assert_error(response, 405, "METHOD_NOT_ALLOWED")
                    self.assertIn("POST", response["Allow"])

    def test_token_refresh_returns_valid_tokens(self):
        first = self.sign_in().json()["data"]
        response = self.refresh(first["refresh_token"])
        self.assertEqual(response.status_code, 200)
        second = response.json()["data"]
        self.assertEqual(list(second), list(first))
        self.assertEqual((second["token_type"], second["expires_in"]), ("Bearer", 900))
        self.assert_signs_in(second, self.editor)
        third = self.refresh(second["refresh_token"]).json()["data"]
        self.assert_signs_in(third, self.editor)

    def test_a_refresh_token_works_once(self):
        old = RefreshToken.for_user(self.editor)
        self.assertEqual(self.refresh(old).status_code, 200)
        self.assert_unauthorized(self.refresh(old))
        self.assertEqual(UsedRefreshToken.objects.count(), 1)

    def test_token_refresh_leaves_other_refresh_tokens_valid(self):
        one, other = RefreshToken.for_user(self.editor), RefreshToken.for_user(self.editor)
        self.assertEqual(self.refresh(one).status_code, 200)
        self.assertEqual(self.refresh(other).status_code, 200)

    def test_token_refresh_refuses_a_deactivated_user(self):
        token = RefreshToken.for_user(self.editor)
        User.objects.filter(pk=self.editor.pk).update(is_active=False)
        self.assert_unauthorized(self.refresh(token))
        self.assertFalse(UsedRefreshToken.objects.exists())

    def test_token_refresh_refuses_a_deleted_user(self):
        token = RefreshToken.for_user(self.editor)
        self.editor.delete()
        self.assert_unauthorized(self.refresh(token))
        self.assertFalse(UsedRefreshToken.objects.exists())

    def test_token_refresh_refuses_an_access_token(self):
        self.assert_unauthorized(self.refresh(AccessToken.for_user(self.editor)))
        self.assertFalse(UsedRefreshToken.objects.exists())

    def test_a_refresh_token_expires_after_seven_days(self):
        now = datetime.now(UTC)
        used_in_time, too_late = (RefreshToken.for_user(self.editor) for _ in range(2))
        with time_machine.travel(now + timedelta(days=7, seconds=-10), tick=False):
            self.assertEqual(self.refresh(used_in_time).status_code, 200)
        with time_machine.travel(now + timedelta(days=7, seconds=10), tick=False):
            self.assert_unauthorized(self.refresh(too_late))
        self.assertFalse(UsedRefreshToken.objects.filter(jti=too_late["jti"]).exists())

    @ignore_warnings(category=InsecureKeyLengthWarning)
    def test_token_refresh_refuses_forged_tokens(self):
        claims = signed_claims(RefreshToken.for_user(self.editor))
        key = settings.TOKEN_KEYS[0]
        header, payload, signature = str(RefreshToken.for_user(self.editor)).split(".")
        for name, token in {
            "no token": "edith",
            "another key": jwt.encode(claims, "k" * 64, algorithm="HS256"),
            "no signature": jwt.encode(claims, None, algorithm="none"),
            "another algorithm": jwt.encode(claims, key, algorithm="HS512"),
            "cut": f"{header}.{payload}",
            "another header": f"e30.{payload}.{signature}",
            "not base64": f"{header}.é.{signature}",
        }.items():
            with self.subTest(name):
                self.assert_unauthorized(self.refresh(token))
        self.assertFalse(UsedRefreshToken.objects.exists())

    def test_refresh_token_of_an_older_key_is_exchanged_for_tokens_of_the_current_key(self):
        token = self.sign_in().json()["data"]["refresh_token"]
        [older] = settings.TOKEN_KEYS
        current = derive_token_key("k" * 50)
        backend = TokenBackend("HS256", current, audience="rivergen", issuer="rivergen")
        with mock.patch.multiple(
            state.token_backend,
            prepared_signing_key=backend.prepared_signing_key,
        ):
            self.assert_unauthorized(self.refresh(token))
            with self.settings(TOKEN_KEYS=[current, older]):
                response = self.refresh(token)
                self.assertEqual(response.status_code, 200)
                for name in ("access_token", "refresh_token"):
                    backend.decode(response.json()["data"][name])

    def test_token_refresh_is_refused_after_a_password_change(self):
        token = self.sign_in().json()["data"]["refresh_token"]
        self.editor.set_password("another one")
        self.editor.save()
        self.assert_unauthorized(self.refresh(token))
        again = self.sign_in(password="another one").json()["data"]["refresh_token"]
        self.assertEqual(self.refresh(again).status_code, 200)

    def test_token_refresh_refuses_invalid_claims(self):
        claims = signed_claims(RefreshToken.for_user(self.editor))
        for changes in (
            {"exp": 1e20},
            {"exp": "soon"},
            {"exp": float("nan")},
            {"exp": float("inf")},
            {"exp": []},
            {"exp": None},
            {"user_id": "x"},
            {"user_id": True},
            {"user_id": -1},
            {"user_id": 2**63},
            {"user_id": "9" * 2000},
            {"user_id": None},
            {"jti": None},
        ):
            with self.subTest(changes=changes):
                key = settings.TOKEN_KEYS[0]
                token = jwt.encode({**claims, **changes}, key, algorithm="HS256")
                self.assert_unauthorized(self.refresh(token))
        self.assertFalse(UsedRefreshToken.objects.exists())

    def test_token_refresh_names_invalid_fields(self):
        for data, fields in (
            ({}, ["refresh_token"]),
            ({"refresh_token": 7}, ["refresh_token"]),
            ({"refresh_token": None}, ["refresh_token"]),
            ({"refresh_token": ""}, ["refresh_token"]),
            ({"refresh_token": "x\0"}, ["refresh_token"]),
            ({"refresh_token": "x" * 4097}, ["refresh_token"]),
            ({"refresh_token": "x", "user_id": 1}, ["user_id"]),
        ):
            with self.subTest(data=data):
                response = self.call("post", "/auth/token/refresh", data)
                self.assert_error(response, 400, "BAD_REQUEST", *fields)
