"""Tests of the handler of exceptions."""

from django.core.exceptions import ValidationError as ModelValidationError
from django.test import SimpleTestCase
from rest_framework.exceptions import APIException, ValidationError

from rivergen.errors import StateConflict
from rivergen.http.responses import exception_handler


class ExceptionHandlerTests(SimpleTestCase):
    def test_extra_of_an_exception_is_beside_the_code_whatever_its_kind(self):
        for error in (
            APIException("No."),
            ValidationError({"port": ["No."]}),
            StateConflict("No."),
            ModelValidationError("No."),
        ):
            with self.subTest(error=error):
                error.extra = {"results": [1]}
                body = exception_handler(error, {}).data["error"]
                self.assertEqual(
                    [*body], ["code", "message", "details", "request_id", "results"], body
                )
                self.assertEqual(body["results"], [1])

    def test_exception_without_extra_has_only_the_usual_members(self):
        body = exception_handler(APIException("No."), {}).data["error"]
        self.assertEqual([*body], ["code", "message", "details", "request_id"])

    def test_extra_of_an_unexpected_error_is_not_sent(self):
        error = RuntimeError("secret")
        error.extra = {"password": "hunter2"}
        with self.assertLogs("rivergen.errors"):
            body = exception_handler(error, {}).data["error"]
        self.assertEqual([*body], ["code", "message", "details", "request_id"])
