"""Serializers: the fast output equals that of DRF, and the work of strict input is bounded."""

from datetime import UTC, datetime, timedelta, timezone
from difflib import get_close_matches
from unittest import mock

from django.test import SimpleTestCase
from rest_framework.serializers import DateTimeField, ModelSerializer

from datasources.models import DataSource
from datasources.serializers import DataSourceRevisionSerializer, DataSourceSerializer
from datasources.testing import DataSourceTestCase
from organizations.serializers import MemberSerializer, MeSerializer
from rivergen.http import serializers
from rivergen.http.serializers import StrictCharField, StrictSerializer, unknown_names, utc_text

FILLED = DataSource(
    pk=2**62,
    organization_id=1,
    workspace_id=2,
    name="Ünicode",
    type=DataSource.Type.MYSQL,
    description="",
    port=None,
    use_ssh_tunnel=True,
    tags=["b", "a"],
    metadata={"a": [1.5, None, {"b": "c"}], "big": 2**70},
    last_test={"ok": False},
    schema_refreshed_at=datetime(2026, 1, 2, 3, 4, 5, 678, UTC),
    created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    updated_by_id=7,
)


class OutputTests(DataSourceTestCase):
    def test_serialized_rows_equal_those_of_drf(self):
        self.data_source.apply_changes({"port": 1, "tags": ["x"]}, user=self.editor)
        for serializer_class, row in (
            (DataSourceSerializer, FILLED),
            (DataSourceSerializer, self.data_source),
            (DataSourceRevisionSerializer, self.data_source.revisions.first()),
            (MeSerializer, self.editor),
            (MemberSerializer, self.editor.memberships.get()),
        ):
            with self.subTest(serializer_class=serializer_class.__name__):
                serializer = serializer_class(row)
                expected = ModelSerializer.to_representation(serializer, row)
                self.assertEqual(serializer.data, expected)

    def test_times_are_serialized_in_utc_as_drf_does(self):
        moment = datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
        self.assertEqual(utc_text(moment), "2026-01-02T01:00:00Z")
        field = DateTimeField()
        for utc in (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, 60, UTC)):
            self.assertEqual(utc_text(utc), field.to_representation(utc))


class NameSerializer(StrictSerializer):
    """One text, with a validator that counts its calls."""

    validate_text = mock.Mock(requires_context=False)
    name = StrictCharField(max_length=100, validators=[validate_text], trim_whitespace=True)


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


class WorkTests(SimpleTestCase):
    def test_of_many_unknown_names_fifty_are_compared_and_the_rest_are_counted(self):
        body = {f"names{number}": 0 for number in range(1_000)}
        with mock.patch.object(
            serializers, "get_close_matches", side_effect=get_close_matches
        ) as compare:
            serializer = NameSerializer(data=body, partial=True)
            self.assertFalse(serializer.is_valid())
            errors = serializer.errors
            self.assertEqual(unknown_names(body, ["name"]), errors)
        self.assertEqual(compare.call_count, 100)
        self.assertEqual(len(errors), 50)
        self.assertEqual(errors["names0"], ["Unknown field. Did you mean name?"])
        self.assertEqual(errors["names49"][1:], ["There are 950 more unknown fields."])

    def test_text_that_is_too_long_reaches_no_other_validator(self):
        for text in ("a" * 101, "a" * 1_000_000):
            NameSerializer.validate_text.reset_mock()
            serializer = NameSerializer(data={"name": text})
            self.assertFalse(serializer.is_valid())
            [error] = serializer.errors["name"]
            self.assertEqual(error, "Ensure this field has no more than 100 characters.")
            NameSerializer.validate_text.assert_not_called()
        serializer = NameSerializer(data={"name": f" {'a' * 100} "})
        self.assertTrue(serializer.is_valid())
        NameSerializer.validate_text.assert_called_once_with("a" * 100)

    def test_deeply_nested_value_of_a_text_field_is_refused_unread(self):
        serializer = NameSerializer(data={"name": nested(100_000)})
        self.assertFalse(serializer.is_valid())
        self.assertEqual(serializer.errors["name"], ["Must be a string."])
