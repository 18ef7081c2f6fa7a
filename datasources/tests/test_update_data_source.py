"""PATCH /api/v1/data-sources/{data_source_id}: the endpoint over HTTP."""

from typing import Any

from rest_framework.response import Response

from datasources.models import DataSource
from organizations.models import User
from organizations.testing import APITestCase, sql


class UpdateDataSourceTests(APITestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.data_source = DataSource.objects.create(
            workspace=cls.workspace,
            name="Production PostgreSQL",
            type=DataSource.Type.POSTGRESQL,
            host="db.example.com",
            port=5432,
            database_name="production",
            schema_name="public",
            created_by=cls.owner,
            updated_by=cls.owner,
        )
        cls.path = f"/data-sources/{cls.data_source.pk}"

    def patch(self, data: Any, user: User | None = None, **extra: Any) -> Response:
        return self.call("patch", self.path, data, user or self.editor, **extra)

    def test_takes_three_statements(self):
        with self.statements() as captured:
            response = self.patch({"name": "Renamed", "port": 5433})
        self.assertEqual(response.status_code, 200)
        self.assertEqual(len(sql(captured)), 3, sql(captured))
        print("\n".join(sql(captured)))
        print(response.json(), response.headers)
