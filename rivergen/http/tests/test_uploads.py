"""Forms with files: no page takes one, so none is stored on disk."""

from django.conf import settings
from django.core.files.uploadedfile import InMemoryUploadedFile, SimpleUploadedFile
from django.test import Client, TestCase

from rivergen.http.uploads import PARAMETERS_MAX

LOGIN = "/admin/login/"


class UploadTests(TestCase):
    def test_form_above_the_limit_of_a_body_is_refused_before_it_is_read(self):
        for client in (Client(), Client(enforce_csrf_checks=True)):
            client.get(LOGIN)
            file = SimpleUploadedFile("a.bin", b"x" * settings.REQUEST_BODY_MAX_BYTES)
            response = client.post(LOGIN, {"username": "x", "password": "y", "file": file})
            self.assertEqual(response.status_code, 400)

    def test_small_file_in_a_form_stays_in_memory(self):
        form = {"username": "x", "password": "y", "file": SimpleUploadedFile("a.bin", b"x" * 9)}
        response = Client().post(LOGIN, form)
        self.assertContains(response, "Please enter the correct username and password")
        self.assertIsInstance(response.wsgi_request.FILES["file"], InMemoryUploadedFile)

    def test_part_with_too_many_parameters_is_400(self):
        for count, status in ((PARAMETERS_MAX - 1, 200), (PARAMETERS_MAX, 400), (900, 400)):
            start = '--b\r\nContent-Disposition: form-data; name="a'
            body = f'{start}{";" * count}"\r\n\r\nx\r\n--b--\r\n'
            with self.subTest(count):
                response = self.client.post(LOGIN, body, "multipart/form-data; boundary=b")
                self.assertEqual(response.status_code, status)

    def test_semicolons_of_a_value_do_not_count(self):
        fields = {"username": "x", "password": "a;" * 100, "next": "\r\n\r\n" + "b;" * 100}
        response = self.client.post(LOGIN, fields)
        self.assertEqual(response.context["form"].data.dict(), fields)
