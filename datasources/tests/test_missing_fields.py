"""Tests of `missing_fields`: what a connection of this type still needs."""

from typing import Any

from datasources.connections.connectors import CONNECTORS
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from organizations.testing import sql

VALUES = {
    "host": "db.example.com",
    "database_name": "orders",
    "file_path": "orders.csv",
    "connection_string": "databricks://dbc.example.com/main?http_path=/sql/1",
}
DATABRICKS = "databricks://dbc.example.com"


class MissingFieldsTests(DataSourceTestCase):
    def create(self, type_: str, **fields: Any) -> dict[str, Any]:
        body = {"name": f"{type_} {len(fields)} {fields}"[:255], "type": type_, **fields}
        response = self.call("post", "/data-sources", body, self.editor)
        self.assertEqual(response.status_code, 201, response.content)
        data: dict[str, Any] = response.json()["data"]
        return data

    def test_each_type_needs_at_first_what_the_catalogue_calls_required(self):
        for entry in self.call("get", "/data-source-types", user=self.viewer).json()["data"]:
            required = [field["name"] for field in entry["fields"] if field["required"]]
            with self.subTest(type=entry["type"]):
                self.assertTrue(required)
                self.assertEqual(self.create(entry["type"])["missing_fields"], required)
                given = {field: VALUES[field] for field in required}
                self.assertEqual(self.create(entry["type"], **given)["missing_fields"], [])

    def test_complete_data_source_lacks_no_field_that_a_test_would_miss(self):
        for name, connector in CONNECTORS.items():
            for fields in ({}, {"host": "h"}, {"database_name": "d"}, {"file_path": "f"}):
                data_source = DataSource(workspace=self.workspace, type=name, **fields)
                settings = data_source.configuration({})
                lacking = [f for f in connector.required_fields if getattr(settings, f) is None]
                with self.subTest(type=name, fields=fields):
                    self.assertEqual({*lacking} - {*data_source.missing_fields}, set())

    def test_connection_string_provides_what_it_has(self):
        for type_, url, missing in (
            ("postgresql", "postgresql://db.example.com/orders", []),
            ("postgresql", "postgresql://reader@db.example.com", ["database_name"]),
            ("postgresql", "postgresql://db.example.com/", ["database_name"]),
            ("bigquery", "bigquery://project", []),
            ("databricks", f"{DATABRICKS}/main?http_path=/sql/1", []),
            ("databricks", f"{DATABRICKS}/main?http_path=", ["connection_string"]),
            ("databricks", DATABRICKS, ["database_name", "connection_string"]),
        ):
            with self.subTest(url=url):
                created = self.create(type_, connection_string=url)
                self.assertEqual(created["missing_fields"], missing)
        together = self.create("mysql", connection_string="mysql://db/", database_name="x")
        self.assertEqual(together["missing_fields"], [])

    def test_get_list_update_and_dry_run_show_it_as_it_is_then(self):
        self.assertEqual(self.shown()["missing_fields"], [])
        body = {"host": None, "database_name": None}
        for query, stored in (("?dry_run=true", []), ("", ["host", "database_name"])):
            response = self.call("patch", f"{self.path}{query}", body, self.editor).json()
            self.assertEqual(response["data"]["missing_fields"], ["host", "database_name"])
            self.assertEqual(self.shown()["missing_fields"], stored)
            [listed] = self.call("get", "/data-sources", user=self.viewer).json()["data"]
            self.assertEqual(listed["missing_fields"], stored)

    def test_update_takes_it_back_unchanged_and_refuses_another(self):
        shown = self.shown()
        response = self.call("patch", self.path, {**shown, "host": None}, self.editor)
        self.assertEqual(response.status_code, 200, response.content)
        response = self.call("patch", self.path, {"missing_fields": []}, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "missing_fields")

    def test_creation_refuses_it(self):
        body = {"name": "n", "type": "csv", "missing_fields": ["file_path"]}
        response = self.call("post", "/data-sources", body, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "missing_fields")

    def test_rows_that_were_edited_by_hand_are_shown(self):
        rows = DataSource._base_manager.filter(pk=self.data_source.pk)
        for edited, missing in (
            ({"type": "removed"}, []),
            ({"type": "mysql", "connection_string": "[x", "host": None}, ["host"]),
        ):
            rows.update(**edited)
            self.assertEqual(self.shown()["missing_fields"], missing)

    def test_list_takes_no_statement_for_it(self):
        for number in range(3):
            self.create("postgresql", connection_string=f"postgresql://db{number}/")
        with self.statements() as captured:
            self.call("get", "/data-sources", user=self.viewer)
        self.assertEqual(len(sql(captured)), 2)
