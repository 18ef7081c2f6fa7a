"""The fast output of serializers equals that of DRF."""

from datetime import UTC, datetime, timedelta, timezone

from rest_framework.serializers import DateTimeField, ModelSerializer

from datasources.models import DataSource
from datasources.serializers import DataSourceRevisionSerializer, DataSourceSerializer
from datasources.testing import DataSourceTestCase
from organizations.serializers import MemberSerializer, MeSerializer
from rivergen.http.serializers import utc_text

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
