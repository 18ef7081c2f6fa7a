"""Tests of the fields of a data source: values that each accepts and refuses over HTTP."""

import json
from typing import Any

from datasources.models import DataSource
from datasources.testing import DataSourceTestCase

HOSTS = (
    *(
        "db",
        "db.example.com",
        "db.example.com.",
        "my_db",
        "a-b.example",
        "bücher.example",
        "例え.jp",
    ),
    *("10.0.0.1", "::1", "2001:db8::1", "a" * 63 + ".example", "x1.0x1f.com"),
)
NOT_HOSTS = (
    *("", " ", " db", "db ", "a b", "http://db", "db:5432", "db/path", "user@db", "user:pw@db"),
    *("a,b", "/var/run/postgresql", "..", ".db", "a..b", "-db", "db-", "a" * 64, "a." * 127 + "a"),
    *("[::1]", "::1%eth0", "1.2.3", "256.1.1.1", "1.2.3.4.5", "2130706433", "0x7f000001", "0x7f.1"),
    *(
        "0177.0.0.1",
        "127。0。0。1",
        "１２７.0.0.1",
        "①②⑦.0.0.1",
        "\u00ad127.0.0.1",
        "169.254.169.254\u200b",
        "1.2.3.4.",
        "d\u00adb.example.com",
        "db\n",
        "db\t",
        "db\\x",
        "d*b",
        "@db",
        "db?x",
        "db#x",
        "db%2e",
    ),
)
PORTS, NOT_PORTS = (
    (1, 5433, 65_535, None),
    (0, -1, 65_536, 2**70, "5433", "5_433", "٥", 5433.0, 5433.5, True),
)
NOT_TEXT: tuple[Any, ...] = (7, 7.5, True, ["x"], {"x": 1}, "nul\0")
NOT_BOOLEANS: tuple[Any, ...] = ("yes", "true", 1, 0, None, [], {})
NOT_STRINGS = (*NOT_TEXT, "")

FIELDS: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    "name": (
        ("n", "n" * 255, "Ünïcode 🚀", "'; DROP TABLE x; --", "two  spaces"),
        (*NOT_STRINGS, None, " ", "\n\t", "tab\tinside", "n" * 256),
    ),
    "description": (("", "d" * 10_000, " kept \n as is "), (*NOT_TEXT, None, "d" * 10_001)),
    "host": ((*HOSTS, None), (*NOT_HOSTS, *NOT_TEXT, "h" * 254)),
    "port": (PORTS, NOT_PORTS),
    "database_name": (("d", "d" * 255, " d ", None), (*NOT_STRINGS, "d" * 256)),
    "schema_name": (("s", "s" * 255, None), (*NOT_STRINGS, "s" * 256)),
    "file_path": (
        ("a", "a/b.csv", "a..b/c", "..a", "p" * 1_000, "sp ace/ü.csv", None),
        (*NOT_STRINGS, "/a", "..", "../a", "a/../b", "a/..", "a\\b", "a\nb", "a\x7fb", "p" * 1_001),
    ),
    "use_ssh_tunnel": ((True, False), NOT_BOOLEANS),
    "ssh_host": (HOSTS, (*NOT_HOSTS, *NOT_TEXT)),
    "ssh_port": (PORTS, NOT_PORTS),
    "ssh_username": (("u", "u" * 255), (*NOT_STRINGS, "u" * 256)),
    "ssh_local_port": (PORTS, NOT_PORTS),
    "connection_pool_size": ((1, 100), (0, 101, None, "5", 5.0, True)),
    "connection_timeout": ((1, 300), (0, 301, None, "5", 5.0, True)),
    "query_timeout": ((1, 86_400), (0, 86_401, None, "5", 5.0, True)),
    "max_retries": ((0, 10), (-1, 11, None, "5", 5.0, False)),
    "schema_auto_refresh": ((True, False), NOT_BOOLEANS),
    "schema_refresh_interval": ((60, 2_592_000), (59, 2_592_001, None, "60", 60.0, True)),
    "tags": (
        ([], ["a", "A"], ["t" * 64], [f"t{n}" for n in range(50)], ["b", "a"]),
        (
            *(None, "a", {"a": 1}, [1], [None], [["a"]], [True], [""], [" "], ["t" * 65], ["n\0"]),
            *(["a", "a"], ["a", " a "], [f"t{n}" for n in range(51)]),
        ),
    ),
}


def nested(depth: int, inner: Any = 1) -> Any:
    """Return an object that is `depth` levels deep."""
    value = inner
    for _ in range(depth):
        value = {"a": value}
    return value


class FieldTests(DataSourceTestCase):
    def test_fields_accept_the_values_of_the_contract(self):
        self.send({"ssh_host": "bastion", "ssh_username": "me"})
        for field, (valid, _) in FIELDS.items():
            for value in valid:
                with self.subTest(field=field, value=value):
                    response = self.send({field: value})
                    self.assertEqual(response.status_code, 200, response.json())
                    self.assertEqual(response.json()["data"][field], value)
                    self.assertEqual(self.shown()[field], value)

    def test_fields_refuse_values_outside_of_the_contract(self):
        before = self.stored()
        for field, (_, invalid) in FIELDS.items():
            for value in invalid:
                with self.subTest(field=field, value=value):
                    # Send a valid field as well, which must not be stored either.
                    response = self.send({"max_retries": 7, field: value})
                    self.assert_error(response, 400, "BAD_REQUEST", field)
                    self.assertEqual(self.stored(), before)

    def test_fields_have_the_defaults_of_the_contract(self):
        response = self.call("post", "/data-sources", {"name": "n", "type": "mysql"}, self.editor)
        data = response.json()["data"]
        defaults = {
            **dict.fromkeys(("host", "database_name", "schema_name", "connection_string")),
            **dict.fromkeys(("file_path", "ssh_host", "ssh_username", "ssh_local_port")),
            **{"description": "", "port": 3306, "use_ssh_tunnel": False, "ssh_port": 22},
            **{"connection_pool_size": 5, "connection_timeout": 30, "query_timeout": 300},
            **{"max_retries": 3, "schema_auto_refresh": False, "schema_refresh_interval": 3600},
            **{"metadata": {}, "tags": [], "status": "active", "credentials_status": "unset"},
            **{"version": 1, "workspace_id": self.workspace.pk, "organization_id": self.acme.pk},
        }
        for field, value in defaults.items():
            with self.subTest(field=field):
                self.assertEqual(data[field], value)

    def test_names_and_tags_are_trimmed(self):
        data = self.send({"name": "  padded\n", "tags": [" a ", "b\t"]}).json()["data"]
        self.assertEqual(data["name"], "padded")
        self.assertEqual(data["tags"], ["a", "b"])
        self.assertEqual(self.send({"name": " " + "n" * 255 + " "}).status_code, 200)

    def test_metadata_accepts_any_json_object(self):
        text = "x" * (65_536 - len('{"text":""}'))
        euro = "€" * ((65_536 - len('{"text":""}')) // 3)
        values: tuple[Any, ...] = (
            {},
            {"a": [1, 1.5, -0.25, True, None, "ü", {"b": []}]},
            {"text": text},
            {"text": euro},
            nested(20),
            {"a": [[[[1]]]]},
            {"passwordless": 1, "tokens": 2, "secretary": 3, "password_policy": 4, "monkey": 5},
            {"ñtoken": 1, "中token": 2, "keyword": 3},
            {"": 1, " ": 2},
        )
        for value in values:
            with self.subTest(value=str(value)[:40]):
                self.assertEqual(self.send({"metadata": value}).status_code, 200)
                self.assertEqual(self.shown()["metadata"], value)

    def test_invalid_metadata_is_refused(self):
        text = "x" * (65_537 - len('{"text":""}'))
        values: tuple[Any, ...] = (
            *(None, [], "x", 1, True),
            *({"text": text}, {"text": "€" * 22_000}, {"n": [1e300] * 300}),
            *(nested(21), {"a": nested(20)}, nested(19, inner=[[1]]), nested(300)),
            *({"a": "nul\0"}, {"nul\0": 1}, {"a": [{"b": "nul\0"}]}),
        )
        for value in values:
            with self.subTest(value=str(value)[:40]):
                self.assert_metadata_refused(value)

    def test_metadata_keys_that_name_a_secret_are_refused_at_any_depth(self):
        names = (
            *("password", "passwd", "pwd", "secret", "token", "api_key", "apikey", "access_key"),
            *("secret_key", "private_key", "client_secret", "credentials", "passphrase"),
            *("DBPassword", "x_pa_ss_word", "a" * 300 + "_password", "_" * 300 + "pwd__"),
            *("PASSWORD", "Api-Key", "db_password", "db-password", "DB_API_KEY", "dbPassword"),
            *("private-key", "aws_secret_access_key", "my.token", "p_w_d", "ApiKey", "APIKey"),
        )
        for name in names:
            for value in ({name: "hunter2"}, {"a": [{"b": {name: None}}]}):
                with self.subTest(value=value):
                    error = self.assert_metadata_refused(value)
                    self.assertIn("credentials", error["details"]["metadata"][0])
                    self.assertIn(name[:64], error["details"]["metadata"][0])
                    self.assertNotIn("hunter2", json.dumps(error))

    def test_connection_strings_that_fit_the_type_are_accepted(self):
        for value in (
            "postgresql://db.example.com",
            "postgres://reader@db.example.com:5432/orders?sslmode=require",
            "postgresql://reader@[2001:db8::1]:5432/orders",
            "POSTGRESQL://db/orders",
            "postgresql://read%40er@db/orders%20x",
            "postgresql+psycopg://db/orders",
            "postgresql://me;b@db/orders",
            None,
        ):
            with self.subTest(value=value):
                self.assertEqual(self.send({"connection_string": value}).status_code, 200)
                self.assertEqual(self.shown()["connection_string"], value)

    def test_invalid_connection_strings_are_refused(self):
        for value in (
            *("", 7, True, [], "x", "db.example.com", "postgresql:", "postgresql://", "://db"),
            *("mysql://db/orders", "http://db", "file:///etc/passwd", "postgresql:///orders"),
            *("postgresql://a,b/orders", "postgresql://a:1,b:2/orders", "postgresql://a@b@c/d"),
            *("postgresql://db:0/x", "postgresql://db:65536/x", "postgresql://db:x/y"),
            *("postgresql://%2Ftmp/x", "postgresql://db /x", "postgresql://db/x#y", "host=db"),
            *("postgresql://db/x?host=/tmp", "postgresql://db/x?hostaddr=127.0.0.1"),
            *(
                "postgresql://db/x?service=a",
                "postgresql://db/x?passfile=/a",
                "postgresql://db/x?a",
            ),
            *("postgresql://db/x?options=-c%20a", "postgresql://db/x?sslkey=/a"),
            *("postgresql://db/x?sslmode=a&sslmode=b", "postgresql://db/%00", "postgresql://[::1"),
            *("postgresql+ssh://db/x", "postgresql+hunter2://db/x", "postgresql+://db/x"),
            *("postgresql://evil.com[::1]/x", "postgresql://[::1]evil.com/x", "postgresql://h:/x"),
            *(
                "postgresql://me@evil[::1]/x",
                "postgresql://[::1].com:80/x",
                "postgresql://[v1.f]/x",
            ),
            *("postgresql://db/%zz", "postgresql://db/x?sslmode=a;b=c", "postgresql://db;b=c/x"),
            "postgresql://me;b=c@db/orders",
            *("postgresql://１２７.0.0.1/x", "postgresql://%31/x"),
            *("postgresql://db/x?sslmode=%0a", "postgresql://2130706433/x", "postgresql://db\\x/y"),
            "postgresql://" + "d" * 4_084,
        ):
            with self.subTest(value=str(value)[:60]):
                response = self.send({"connection_string": value})
                self.assert_error(response, 400, "BAD_REQUEST", "connection_string")
                self.assertIsNone(self.stored()["connection_string"])

    def test_options_that_make_a_driver_read_local_files_are_refused(self):
        for type_name, option in (
            ("mysql", "local_infile=1"),
            ("mariadb", "ssl_key=/etc/key"),
            ("mongodb", "tlsCertificateKeyFile=/etc/key"),
            ("redshift", "passfile=/etc/passwd"),
        ):
            with self.subTest(type=type_name):
                body = {"name": "n", "type": type_name}
                for options, status in (("", 201), (f"?{option}", 400)):
                    url = f"{type_name}://db.example.com/x{options}"
                    response = self.call(
                        "post", "/data-sources", body | {"connection_string": url}, self.editor
                    )
                    self.assertEqual(response.status_code, status)
                    DataSource.objects.filter(name="n").delete()

    def test_file_sources_refuse_connection_strings(self):
        body = {"name": "f", "type": "csv", "connection_string": "postgresql://db/x"}
        response = self.call("post", "/data-sources", body, self.editor)
        self.assert_error(response, 400, "BAD_REQUEST", "connection_string")

    def send(self, body: dict[str, Any]) -> Any:
        return self.call("patch", self.path, body, self.editor)

    def assert_metadata_refused(self, metadata: Any) -> dict[str, Any]:
        response = self.send({"metadata": metadata})
        self.assertEqual(self.stored()["metadata"], {})
        return self.assert_error(response, 400, "BAD_REQUEST", "metadata")
