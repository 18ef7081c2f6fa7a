"""Text that is pasted into the admin, with the white space around it."""

from typing import Any

from datasources.models import DataSource
from datasources.testing import ADMIN_PAGES, DataSourceTestCase, admin_client, filled_in

PASTED = {
    "host": "db2.example.com",
    "ssh_host": "bastion.example.com",
    "ssh_username": "tunnel",
    "database_name": "orders",
    "schema_name": "sales",
    "file_path": "lake/orders.csv",
    "connection_string": "postgresql://db2.example.com/orders",
    "username": "reader",
}
WHITE_SPACE = ("{} ", " {}", "\t{}", "{}\u00a0", "\u3000{}\r\n")


class PastedTextTests(DataSourceTestCase):
    def setUp(self) -> None:
        self.client = admin_client(self.owner)
        self.page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"

    def save(self, **values: Any) -> Any:
        return self.client.post(self.page, filled_in(self.client, self.page, **values))

    def test_white_space_around_pasted_text_is_removed(self) -> None:
        for field, text in PASTED.items():
            for pattern in WHITE_SPACE:
                with self.subTest(field, pattern=pattern):
                    self.data_source.refresh_from_db()
                    if field == "username":
                        self.data_source.set_credentials({field: "other"}, user=self.owner)
                    else:
                        self.data_source.apply_changes({field: None}, user=self.owner)
                    self.assertEqual(self.save(**{field: pattern.format(text)}).status_code, 302)
                    self.assertEqual(self.stored()[field], text)

    def test_stored_text_pasted_again_with_white_space_changes_nothing(self) -> None:
        before = self.stored()["version"]
        response = self.save(host=" db.example.com", database_name="production\n")
        self.assertEqual(response.status_code, 302)
        self.assertEqual(self.stored()["version"], before)

    def test_stored_white_space_stays_until_the_field_is_changed(self) -> None:
        self.data_source.apply_changes({"database_name": " production "}, user=self.owner)
        self.assertEqual(self.save(max_retries=7).status_code, 302)
        self.assertEqual(self.stored()["database_name"], " production ")
        self.assertEqual(self.save(database_name="production").status_code, 302)
        self.assertEqual(self.stored()["database_name"], "production")

    def test_white_space_alone_clears_a_field(self) -> None:
        self.assertEqual(self.save(schema_name="  ").status_code, 302)
        self.assertIsNone(self.stored()["schema_name"])

    def test_pasted_address_of_a_server_is_refused_with_what_to_write(self) -> None:
        for field, text, sentence in (
            ("host", "https://db.example.com/ ", "Write the host alone: db.example.com"),
            ("host", "[::1]", "Write an IPv6 address without brackets: ::1"),
            ("host", "db.example.com:5433", "and put the port 5433 into port."),
            ("ssh_host", " bastion:22", "and put the port 22 into ssh_port."),
        ):
            with self.subTest(text):
                response = self.save(**{field: text})
                self.assertContains(response, sentence)
        self.assertEqual(DataSource.objects.get(pk=self.data_source.pk).host, "db.example.com")

    def test_api_refuses_white_space_around_a_host(self) -> None:
        response = self.call("patch", self.path, {"host": "db.example.com "}, self.editor)
        error = self.assert_error(response, 400, "BAD_REQUEST", "host")
        self.assertEqual(error["details"]["host"], ["Has a space at the end. Remove it."])
