"""Sessions work for HTML pages and not for the API."""

from django.contrib.sessions.models import Session

from organizations.testing import APITestCase, bearer, sql


class SessionTests(APITestCase):
    def test_session_cookie_does_not_authenticate_api_requests(self):
        self.client.force_login(self.editor)
        response = self.client.get("/api/v1/me")
        self.assertEqual(response.status_code, 401)
        self.assertNotIn("Cookie", response.headers.get("Vary", ""))

    def test_api_requests_do_not_load_the_session(self):
        self.client.force_login(self.editor)
        Session.objects.all().delete()
        headers = {"Authorization": bearer(self.editor)}
        with self.statements() as captured:
            response = self.client.get("/api/v1/data-sources", headers=headers)
        self.assertEqual(response.status_code, 200)
        self.assertFalse([one for one in sql(captured) if "session" in one])
        self.assertFalse(response.cookies)

    def test_session_of_staff_opens_the_admin(self):
        self.editor.is_staff = True
        self.editor.save()
        self.client.force_login(self.editor)
        self.assertEqual(self.client.get("/admin/").status_code, 200)
