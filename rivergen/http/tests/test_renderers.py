"""FastJSONRenderer writes the same JSON as DRF's renderer."""

import json
from unittest import mock

from django.test import SimpleTestCase
from rest_framework.renderers import JSONRenderer

from rivergen.http.renderers import FastJSONRenderer, RenderedJSON

DATA = {
    "numbers": [0, -1, 2**53, 2**63, 1.5, 1e-7, -0.0, 1e15],
    "text": 'grün \u2028 \U0001f600 " \\ / \x7f',
    "none": None,
    "nested": {"a": [{}, [], True, False]},
}


class RendererTests(SimpleTestCase):
    def test_rendered_json_equals_that_of_drf_without_spaces(self):
        written = FastJSONRenderer().render(DATA)
        self.assertEqual(json.loads(written), json.loads(JSONRenderer().render(DATA)))
        self.assertNotIn(b": ", written)

    def test_common_values_are_rendered_without_falling_back_to_drf(self):
        with mock.patch.object(JSONRenderer, "render") as render:
            FastJSONRenderer().render(DATA, "application/json", {})
        render.assert_not_called()

    def test_integers_of_any_length_are_rendered(self):
        for number in (2**64, -(2**63) - 1, 10**300):
            written = FastJSONRenderer().render({"metadata": {"number": number}})
            self.assertEqual(json.loads(written), {"metadata": {"number": number}})

    def test_none_is_rendered_as_an_empty_body(self):
        self.assertEqual(FastJSONRenderer().render(None), b"")

    def test_indent_in_the_accept_header_indents_the_json(self):
        written = FastJSONRenderer().render({"a": 1}, "application/json; indent=2")
        self.assertEqual(written, b'{\n  "a": 1\n}')

    def test_parts_that_are_rendered_already_are_put_in_as_they_are(self):
        data = {"data": [RenderedJSON(DATA), RenderedJSON({"number": 2**70})], "time": [2**70]}
        whole = {"data": [DATA, {"number": 2**70}], "time": [2**70]}
        for accepted in ("application/json", "application/json; indent=2"):
            self.assertEqual(json.loads(FastJSONRenderer().render(data, accepted)), whole)
