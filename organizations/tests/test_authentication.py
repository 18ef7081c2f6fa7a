"""Bearer tokens: which are accepted, and what happens when their user changes."""

import base64
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import time_machine
from django.conf import settings
from django.test.utils import ignore_warnings
from jwt.warnings import InsecureKeyLengthWarning
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from organizations.models import Membership, User
from organizations.sign_in.tokens import issue_tokens
from organizations.testing import signed_claims, sql
from rivergen.env import derive_token_key

PATHS = ("/me", "/data-sources")
NUL = "\0"


class AuthenticationTests(DataSourceTestCase):
    def get(self, path: str, authorization: str) -> Any:
        return self.call("get", path, headers={"Authorization": authorization})

    def assert_unauthorized(self, response: Any) -> None:
        self.assert_error(response, 401, "UNAUTHORIZED")
        self.assertRegex(response["WWW-Authenticate"], r"^Bearer( error=|$)")

    def assert_refused(self, authorization: str) -> None:
        for path in (*PATHS, self.path):
            self.assert_unauthorized(self.get(path, authorization))

    def sign(self, *without: str, key: Any = settings.TOKEN_KEYS[0], **changes: Any) -> str:
        """Return a header with the editor's token, with changed claims or another `algorithm`."""
        algorithm = changes.pop("algorithm", "HS256")
        claims = {**signed_claims(AccessToken.for_user(self.editor)), **changes}
        for name in without:
            del claims[name]
        return "Bearer " + jwt.encode(claims, key, algorithm=algorithm)

    def test_valid_token_is_accepted(self):
        for path in (*PATHS, self.path):
            with self.subTest(path=path):
                self.assertEqual(self.get(path, self.sign()).status_code, 200)

    def test_request_without_a_token_is_refused(self):
        for path in (*PATHS, self.path, "/data-sources/999", "/organizations"):
            with self.subTest(path=path):
                self.assert_unauthorized(self.call("get", path))

    def test_anonymous_request_is_refused_before_reading_the_body(self):
        for body in (b"{", b"", b'{"unknown": 1}'):
            with self.subTest(body=body):
                self.assert_unauthorized(self.call("patch", self.path, body))
        self.data_source.refresh_from_db()
        self.assertEqual(
            (self.data_source.name, self.data_source.version), ("Production PostgreSQL", 1)
        )

    def test_malformed_authorization_header_is_refused(self):
        token = str(AccessToken.for_user(self.editor))
        head, payload, signature = token.split(".")
        for authorization in (
            "",
            "Bearer",
            "Bearer ",
            token,
            f"Bearer {token} {token}",
            f"Bearer, {token}",
            f"Bearer={token}",
            f"Bearer {token[:-3]}",
            f"Bearer {token}.{signature}",
            f"Bearer {head}.{payload}.",
            f"Bearer {payload}.{head}.{signature}",
            f"Bearer ..{signature}",
            f"Bearer {head}.é.{signature}",
            "Bearer é",
            f"Bearer {NUL}.{NUL}.{NUL}",
            "Bearer null",
            "Bearer bnVsbA.bnVsbA.bnVsbA",
            "Bearer W10.W10.W10",
            "Bearer " + "x" * 8000,
        ):
            with self.subTest(authorization=authorization[:60]):
                self.assert_refused(authorization)

    def test_authorization_scheme_other_than_bearer_is_refused(self):
        token = AccessToken.for_user(self.editor)
        for scheme in ("Basic", "Token", "JWT", "Digest", "Bearer:"):
            with self.subTest(scheme=scheme):
                self.assert_refused(f"{scheme} {token}")

    def test_token_in_the_query_is_refused(self):
        token = AccessToken.for_user(self.editor)
        self.assert_unauthorized(self.call("get", f"/me?access_token={token}"))

    def test_token_is_refused_after_fifteen_minutes(self):
        now = datetime.now(UTC)
        token = self.sign()
        with time_machine.travel(now + timedelta(minutes=15, seconds=-10), tick=False):
            self.assertEqual(self.get("/me", token).status_code, 200)
        with time_machine.travel(now + timedelta(minutes=15, seconds=10), tick=False):
            self.assert_refused(token)

    @ignore_warnings(category=InsecureKeyLengthWarning)
    def test_forged_token_is_refused(self):
        for name, token in {
            "another key": self.sign(key="k" * 64),
            "the undivided key": self.sign(key=settings.SECRET_KEY),
            "no signature": self.sign(key=None, algorithm="none"),
            "another algorithm": self.sign(algorithm="HS512"),
        }.items():
            with self.subTest(name):
                self.assert_refused(token)

    def test_key_in_the_header_of_a_token_is_ignored(self):
        key = "k" * 64
        jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")}
        claims = AccessToken.for_user(self.editor).payload
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/keys"
            for header in ({"jwk": jwk}, {"jku": url}, {"x5u": url}, {"kid": "../../dev/null"}):
                with self.subTest(header=header):
                    token = jwt.encode(claims, key, algorithm="HS256", headers=header)
                    self.assert_refused(f"Bearer {token}")
            server.settimeout(0)
            with self.assertRaises(BlockingIOError):  # nobody asked for the keys
                server.accept()

    def test_token_of_another_issuer_or_for_another_audience_is_refused(self):
        for changes in ({"iss": "other"}, {"aud": "other"}, {"aud": ["other"]}, {"iss": ""}):
            with self.subTest(changes=changes):
                self.assert_refused(self.sign(**changes))
        for name in ("iss", "aud"):
            with self.subTest(without=name):
                self.assert_refused(self.sign(name))

    @ignore_warnings(category=InsecureKeyLengthWarning)
    def test_token_of_an_older_key_is_accepted_until_the_key_is_removed(self):
        older = derive_token_key("k" * 50)
        token = self.sign(key=older)
        self.assert_refused(token)
        with self.settings(TOKEN_KEYS=[*settings.TOKEN_KEYS, "a", older]):
            self.assertEqual(self.get("/me", token).status_code, 200)
            self.assert_refused(self.sign(key=older, aud="other"))
            with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16)):
                self.assert_refused(token)
            new = issue_tokens(self.editor)["access_token"]
        self.assertEqual(self.get("/me", f"Bearer {new}").status_code, 200)

    def test_token_of_another_type_is_refused(self):
        self.assert_refused(f"Bearer {RefreshToken.for_user(self.editor)}")
        for token_type in ("refresh", "", None, [], {"access": 1}, 1):
            with self.subTest(token_type=token_type):
                self.assert_refused(self.sign(token_type=token_type))
        self.assert_refused(self.sign("token_type"))

    def test_token_with_an_invalid_user_id_is_refused(self):
        for user_id in (
            *("x", "", " 1", "+1", "-1", "1.0", "1e0", "１", "²", "true", "9" * 30, "9" * 5000),
            *(True, False, 1.5, 1.0, None, -1, 0, 2**63, 2**64),
            *([], [1], {}, {"id": 1}),
        ):
            with self.subTest(user_id=user_id):
                self.assert_refused(self.sign(user_id=user_id))
        with self.subTest("missing"):
            self.assert_refused(self.sign("user_id"))

    def test_token_of_an_unknown_user_is_refused(self):
        for user_id in (2**63 - 1, str(2**63 - 1), self.editor.pk + 1000):
            with self.subTest(user_id=user_id):
                self.assert_refused(self.sign(user_id=user_id))

    def test_token_with_an_invalid_expiry_is_refused(self):
        invalid = (1e20, -1, 0, "soon", "", "99999999999", True, None, [], {})
        for exp in (*invalid, float("nan"), float("inf"), -float("inf")):
            with self.subTest(exp=exp):
                self.assert_refused(self.sign(exp=exp))
        with self.subTest("missing"):
            self.assert_refused(self.sign("exp"))

    def test_token_with_an_invalid_nbf_iat_or_jti_is_refused(self):
        for changes in (
            {"nbf": "soon"},
            {"nbf": []},
            {"nbf": float("inf")},
            {"nbf": 9_999_999_999},
            {"iat": "then"},
            {"iat": float("inf")},
            {"jti": None},
        ):
            with self.subTest(changes=changes):
                self.assert_refused(self.sign(**changes))

    def test_deactivated_user_is_refused_from_the_next_request_on(self):
        token = self.sign()
        self.assertEqual(self.get(self.path, token).status_code, 200)
        User.objects.filter(pk=self.editor.pk).update(is_active=False)
        self.assert_refused(token)

    def test_deleted_user_is_refused_from_the_next_request_on(self):
        token = self.sign()
        self.assertEqual(self.get(self.path, token).status_code, 200)
        self.editor.delete()
        self.assert_refused(token)

    def test_a_removed_member_gets_403_from_the_next_request_on(self):
        token = self.sign()
        self.assertEqual(self.get(self.path, token).status_code, 200)
        Membership.objects.filter(user=self.editor).delete()
        for path in ("/data-sources", self.path, "/data-source-types", "/organizations"):
            with self.subTest(path=path):
                self.assert_error(self.get(path, token), 403, "FORBIDDEN")

    def test_a_changed_role_applies_from_the_next_request_on(self):
        Membership.objects.filter(user=self.editor).update(role="viewer")
        response = self.call("patch", self.path, {"name": "Lake"}, self.editor)
        self.assert_error(response, 403, "FORBIDDEN")
        self.data_source.refresh_from_db()
        self.assertEqual(
            (self.data_source.name, self.data_source.version), ("Production PostgreSQL", 1)
        )

    def test_every_write_of_a_deactivated_user_is_refused(self):
        User.objects.filter(pk=self.owner.pk).update(is_active=False)
        for method, path, data in (
            ("post", "/data-sources", {"name": "Lake", "type": "postgresql"}),
            ("patch", self.path, {"name": "Lake"}),
            ("delete", self.path, None),
            ("patch", f"/organizations/{self.acme.pk}", {"name": "Lake"}),
            ("delete", f"/organizations/{self.acme.pk}", None),
        ):
            with self.subTest(method=method, path=path):
                self.assert_unauthorized(self.call(method, path, data, self.owner))
        self.assertEqual(
            [*DataSource.objects.values_list("name", "version")], [("Production PostgreSQL", 1)]
        )
        self.acme.refresh_from_db()
        self.assertEqual(self.acme.name, "Acme")

    def test_authentication_needs_no_query(self):
        with self.statements() as captured:
            response = self.get(self.path, self.sign())
        self.assertEqual(response.status_code, 200)
        self.assertEqual(len(sql(captured)), 1, sql(captured))

    def test_authentication_for_a_list_needs_no_query(self):
        with self.statements() as captured:
            response = self.get("/data-sources", self.sign())
        self.assertEqual(len(response.json()["data"]), 1)
        # One statement reads the caller's organizations, one their data sources.
        self.assertEqual(len(sql(captured)), 2, sql(captured))
