"""Headers whose parsers do more work than a header is long."""

import logging
from http import HTTPStatus
from typing import Any
from unittest import mock

from django.core.handlers.wsgi import WSGIRequest
from django.http import cookie
from django.test import Client, RequestFactory, TestCase

from rivergen import wsgi


def received(**headers: str) -> dict[str, Any]:
    """Return the environ that Django gets for a request with these headers."""
    with mock.patch.object(wsgi, "django_application") as django_application:
        wsgi.application(RequestFactory()._base_environ(**headers), mock.Mock())  # type: ignore[attr-defined]
    environ: dict[str, Any] = django_application.call_args.args[0]
    return environ


class HeaderTests(TestCase):
    def test_cookies_with_backslashes_are_dropped_and_others_are_read(self):
        escapes = "\\" * 4_000
        for header, values in (
            (f'a="{escapes}"; csrftoken=b', ["b"]),
            (f'csrftoken=b;a="{escapes}', ["b"]),
            (escapes, []),
            ('csrftoken="b"; a=\\101; c=d', ['"b"', "d"]),
            ("csrftoken=b; c=d", ["b", "d"]),
        ):
            with (
                self.subTest(header=header[:20]),
                mock.patch.object(cookie.cookies, "_unquote") as unquote,
            ):
                _ = WSGIRequest(received(HTTP_COOKIE=header)).COOKIES
                self.assertEqual([call.args[0] for call in unquote.call_args_list], values)

    def test_request_of_very_many_parameters_leaves_no_traceback_in_the_log(self):
        for path in ("/admin/login/", "/api/v1/auth/token"):
            handler = mock.Mock(level=0)
            logging.getLogger("django").addHandler(handler)
            self.addCleanup(logging.getLogger("django").removeHandler, handler)
            response = Client().get(f"{path}?{'a&' * 2_000}")
            Client().post(path, "a&" * 2_000, content_type="application/x-www-form-urlencoded")
            self.assertIn(response.status_code, (400, 405))
            handler.handle.assert_not_called()

    def test_long_content_type_is_shortened_and_refused(self):
        for content_type in (
            f'application/json; a="{";" * 8_000}',
            f"application/json{';' * 8_000}",
            "a" * 8_000,
        ):
            with self.subTest(content_type=content_type[:20]):
                shortened = received(CONTENT_TYPE=content_type)["CONTENT_TYPE"]
                self.assertEqual(len(shortened), 257)
                response = Client().post("/api/v1/auth/token", "{}", content_type=shortened)
                self.assertEqual(response.status_code, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
