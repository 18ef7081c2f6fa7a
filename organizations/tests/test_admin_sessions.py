"""Sessions of the admin in a browser: sign-in, sign-out, cookies, and the own password."""

from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client

from organizations.models import User
from organizations.testing import PASSWORD, APITestCase

LOGIN = "/admin/login/"
NEW_PASSWORD = "nine lives of a cat"


class AdminSessionTests(APITestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.admin.is_staff = cls.admin.is_superuser = True
        cls.admin.save()

    def sign_in(self, client: Client, next_page: str = "/admin/", password: str = PASSWORD) -> Any:
        form = {"username": self.admin.username, "password": password, "next": next_page}
        return client.post(LOGIN, form)

    def session_of(self, client: Client) -> str:
        return client.cookies[settings.SESSION_COOKIE_NAME].value

    def is_signed_in(self, client: Client) -> bool:
        return client.get("/admin/").status_code == 200

    def test_sign_in_begins_a_new_session_and_ends_the_one_before(self) -> None:
        client = Client()
        self.sign_in(client)
        before = self.session_of(client)
        self.assertRegex(before, r"^[a-z0-9]{32}\Z")  # 165 random bits
        self.sign_in(client)
        self.assertNotEqual(self.session_of(client), before)
        self.assertEqual(Session.objects.count(), 1)
        planted = Client()
        planted.cookies[settings.SESSION_COOKIE_NAME] = before
        self.assertFalse(self.is_signed_in(planted))

    def test_history_pages_refuse_post(self) -> None:
        client = Client()
        self.sign_in(client)
        for path in (f"organization/{self.acme.pk}", f"user/{self.admin.pk}"):
            response = client.post(f"/admin/organizations/{path}/history/")
            self.assertEqual(response.status_code, 405)
            self.assertEqual(client.get(f"/admin/organizations/{path}/history/").status_code, 200)

    def test_session_id_that_a_client_makes_up_is_not_used(self) -> None:
        client = Client()
        client.cookies[settings.SESSION_COOKIE_NAME] = "a" * 32
        self.sign_in(client)
        self.assertNotEqual(self.session_of(client), "a" * 32)
        self.assertTrue(self.is_signed_in(client))

    def test_session_cookie_is_for_https_only_and_hidden_from_scripts(self) -> None:
        client = Client()
        self.sign_in(client)
        client.get(LOGIN)
        for name, is_hidden in ((settings.SESSION_COOKIE_NAME, True), ("csrftoken", False)):
            cookie = client.cookies[name]
            self.assertEqual((bool(cookie["secure"]), bool(cookie["httponly"])), (True, is_hidden))
            self.assertEqual((cookie["samesite"], cookie["domain"]), ("Lax", ""))

    def test_session_does_not_work_after_signing_out(self) -> None:
        client, copied = Client(), Client()
        self.sign_in(client)
        copied.cookies[settings.SESSION_COOKIE_NAME] = self.session_of(client)
        self.assertTrue(self.is_signed_in(copied))
        client.post("/admin/logout/")
        self.assertFalse(self.is_signed_in(copied))

    def test_every_page_of_the_admin_has_the_button_that_signs_out(self) -> None:
        client = Client()
        self.sign_in(client)
        pages = ("", "organizations/organization/", "organizations/user/add/", "password_change/")
        for page in pages:
            with self.subTest(page=page):
                self.assertContains(client.get(f"/admin/{page}"), 'id="logout-form"')

    def test_sessions_of_a_deactivated_user_do_not_work(self) -> None:
        client = Client()
        self.sign_in(client)
        User.objects.filter(pk=self.admin.pk).update(is_active=False)
        self.assertFalse(self.is_signed_in(client))

    def test_new_password_needs_the_old_one_and_ends_the_other_sessions(self) -> None:
        client, other = Client(), Client()
        self.sign_in(client)
        self.sign_in(other)
        new = {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD}
        for old_password in ("", "wrong"):
            client.post("/admin/password_change/", {"old_password": old_password, **new})
            self.assertTrue(self.is_signed_in(other))
        client.post("/admin/password_change/", {"old_password": PASSWORD, **new})
        self.assertTrue(self.is_signed_in(client))
        self.assertFalse(self.is_signed_in(other))

    def test_sign_in_leads_to_no_other_site(self) -> None:
        for page in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x"):
            with self.subTest(page=page):
                location = self.sign_in(Client(), page)["Location"]
                self.assertTrue(location.startswith("/") and "evil" not in location, location)
        self.assertEqual(self.sign_in(Client(), "/admin/auth/")["Location"], "/admin/auth/")

    def test_password_fields_are_masked_and_known_to_password_managers(self) -> None:
        client = Client()
        login = client.get(LOGIN).content.decode()
        self.assertRegex(login, r'<input type="password"[^>]* autocomplete="current-password"')
        self.sign_in(client)
        page = client.get("/admin/password_change/").content.decode()
        self.assertRegex(page, r'<input type="password"[^>]* autocomplete="current-password"')
        self.assertRegex(page, r'<input type="password"[^>]* autocomplete="new-password"')
        self.assertNotIn("onpaste", login + page)

    def test_long_password_of_any_characters_is_compared_exactly(self) -> None:
        password = "  Ünïcode 🔑 " + "long " * 40
        self.admin.set_password(password)
        self.admin.save()
        body = {"username": self.admin.username, "password": password}
        self.assertEqual(self.call("post", "/auth/token", body).status_code, 200)
        self.assertEqual(self.sign_in(Client(), password=password).status_code, 302)
        for other in (password.strip(), password[:72], password.lower(), password + "x"):
            with self.subTest(other=other):
                body = {"username": self.admin.username, "password": other}
                self.assert_error(self.call("post", "/auth/token", body), 401, "UNAUTHORIZED")
                self.assertEqual(self.sign_in(Client(), password=other).status_code, 200)
