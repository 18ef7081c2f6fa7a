"""Tests of environment variables: values that are read, and values that are refused."""

import base64
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from django.conf import settings
from django.test import SimpleTestCase

from rivergen.hidden_environment import SECRETS

SECRET_KEY = "Zk3vQ9xW1nB7tYc5LrPz0aUe8GdHs2MfJiKo4XqVbNwTyRgC6D"
DATABASE_URL = "postgresql://u@127.0.0.1:1/x"
KEY = "QxJ8vO0m3kQ0c2m1n5b7y9t4r6e8w0q2a4s6d8f0g2g="
OTHER_KEY = "b3RoZXIga2V5LCBvZiAzMiBieXRlcywgcGFkZGVkLi4="
OLD_KEYS = f"{SECRET_KEY[::-1]},{SECRET_KEY.swapcase()}"
PASSWORD = "pa55-w0rd-of-the-database"


class SettingsTests(SimpleTestCase):
    def read(self, code: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        """Import the settings and run `code` in a process with this environment."""
        environment = {
            "SECRET_KEY": SECRET_KEY,
            "ENCRYPTION_KEYS": KEY,
            "DATABASE_URL": DATABASE_URL,
            **environment,
        }
        return subprocess.run(
            [sys.executable, "-c", f"from rivergen import settings\n{code}"],
            cwd=settings.BASE_DIR,
            env={name: value for name, value in environment.items() if value is not None},
            capture_output=True,
            text=True,
        )

    def read_each(self, name: str, values: tuple) -> list:
        """Return each value with the process that had it in the variable `name`."""
        with ThreadPoolExecutor(4) as pool:
            processes = pool.map(lambda value: self.read(**{name: value}), values)
            return [*zip(values, processes, strict=True)]

    def assert_refused(self, name: str, values: tuple, *, secret: str = "") -> None:
        for value, process in self.read_each(name, values):
            with self.subTest(name, value=value):
                self.assertNotEqual(process.returncode, 0)
                last_line = process.stderr.strip().splitlines()[-1]
                start = f"django.core.exceptions.ImproperlyConfigured: {name} "
                self.assertEqual(last_line[: len(start)], start)
                if secret:
                    self.assertNotIn(secret, process.stdout + process.stderr)

    def printed(self, expression: str, **environment: str) -> str:
        process = self.read(f"print({expression})", **environment)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process.stdout.strip()

    def test_valid_environment_is_read(self):
        self.assertEqual(self.printed("settings.SECRET_KEY"), SECRET_KEY)
        numbers = "settings.PORT, settings.WEB_CONCURRENCY"
        self.assertEqual(self.printed(numbers), "8000 2")
        self.assertEqual(self.printed(numbers, PORT="9001", WEB_CONCURRENCY="5"), "9001 5")

    def test_weak_secret_keys_are_refused(self):
        weak = ("", None, "short", SECRET_KEY[:49], "a" * 64, "ab" * 40, "123456789" * 8)
        self.assert_refused("SECRET_KEY", weak)

    def test_published_secret_keys_are_refused(self):
        published = (f"django-insecure-{SECRET_KEY}", settings.TEST_SECRET_KEY)
        self.assert_refused("SECRET_KEY", published)

    def test_refused_secret_key_is_not_printed(self):
        for key in (SECRET_KEY[:49], f"django-insecure-{SECRET_KEY}"):
            self.assert_refused("SECRET_KEY", (key,), secret=key)

    def file(self, content: bytes, mode: int = 0o600) -> str:
        path = Path(self.enterContext(tempfile.TemporaryDirectory())) / "secret"
        path.touch(mode)
        path.write_bytes(content)
        return str(path)

    def test_secrets_are_read_from_files_without_the_last_line_break(self):
        url = f"postgresql://u:{PASSWORD}@db.example.com/x"
        for name, text, expression, expected in (
            ("SECRET_KEY", SECRET_KEY, "settings.SECRET_KEY", SECRET_KEY),
            ("SECRET_KEY_FALLBACKS", OLD_KEYS, "*settings.SECRET_KEY_FALLBACKS", OLD_KEYS),
            ("ENCRYPTION_KEYS", f"{KEY},{OTHER_KEY}", "len(settings.ENCRYPTION_KEYS)", "2"),
            ("DATABASE_URL", url, "settings.DATABASES['default']['PASSWORD']", PASSWORD),
            ("DATABASE_REPLICA_URL", url, "settings.DATABASES['replica']['PASSWORD']", PASSWORD),
            ("METRICS_TOKEN", PASSWORD, "settings.METRICS_TOKEN", PASSWORD),
        ):
            for end in ("", "\n", "\r\n"):
                with self.subTest(name, text=text, end=end):
                    path = self.file(f"{text}{end}".encode())
                    printed = self.printed(expression, **{name: "", f"{name}_FILE": path})
                    self.assertEqual(printed, expected.replace(",", " "))

    def test_unusable_files_of_secrets_are_refused_without_printing_the_content(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        missing = f"{folder}/missing"
        binary = self.file(PASSWORD.encode() + b"\xff")
        for name in SECRETS:
            for path in (folder, missing, binary, self.file(b""), self.file(b" \n")):
                with self.subTest(name, path=path):
                    process = self.read(**{name: "", f"{name}_FILE": path})
                    self.assertIn(f"ImproperlyConfigured: {name}_FILE: {path}", process.stderr)
                    self.assertNotIn(PASSWORD, process.stderr)

    def test_secret_given_twice_is_refused(self):
        path = self.file(PASSWORD.encode())
        for name in SECRETS:
            with self.subTest(name):
                process = self.read(**{name: PASSWORD, f"{name}_FILE": path})
                self.assertIn(f"{name} and {name}_FILE ({path}) are set", process.stderr)
                self.assertNotIn(PASSWORD, process.stderr)

    def test_weak_and_published_secret_key_fallbacks_are_refused(self):
        keys = ("short", f"{SECRET_KEY},short", f"django-insecure-{SECRET_KEY}", "a" * 64)
        self.assert_refused("SECRET_KEY_FALLBACKS", keys)

    def test_encryption_keys_are_read_in_order(self):
        expression = "[len(key) for key in settings.ENCRYPTION_KEYS], settings.ENCRYPTION_KEYS[0]"
        for keys in (KEY, f"{KEY},{OTHER_KEY}", f" {KEY} ,\n{OTHER_KEY}"):
            with self.subTest(keys=keys):
                lengths = [32] * (keys.count(",") + 1)
                first = base64.b64decode(KEY)
                self.assertEqual(
                    self.printed(expression, ENCRYPTION_KEYS=keys), f"{lengths} {first!r}"
                )

    def test_missing_malformed_and_duplicate_encryption_keys_are_refused(self):
        urlsafe = base64.urlsafe_b64encode(b"\xff" * 32).decode()
        missing = (None, "")
        malformed = (
            "x",
            KEY[:-1],
            KEY[4:],
            KEY + KEY,
            f"{KEY} {OTHER_KEY}",
            urlsafe,
            KEY[1:] + "é",
        )
        self.assert_refused("ENCRYPTION_KEYS", (*missing, *malformed))
        lists = (f"{KEY},", f",{KEY}", f"{KEY},,{OTHER_KEY}", f"{KEY},{KEY}", f"{KEY},{OTHER_KEY}x")
        self.assert_refused("ENCRYPTION_KEYS", lists, secret=KEY)

    def test_invalid_encryption_key_is_named_by_its_position(self):
        for keys, fault in (
            (f"{KEY},{OTHER_KEY[:-2]}", "key 2 is not 32 bytes"),
            (f"{OTHER_KEY},{KEY},{OTHER_KEY}", "key 3 is the same as key 1"),
            ("", "manage.py generate_key"),
        ):
            with self.subTest(fault):
                self.assertIn(fault, self.read(ENCRYPTION_KEYS=keys).stderr)

    def test_debug_is_off_unless_set(self):
        for value, expected in (
            (None, "False"),
            ("", "False"),
            ("0", "False"),
            ("off", "False"),
            ("1", "True"),
            ("true", "True"),
        ):
            with self.subTest(value=value):
                self.assertEqual(self.printed("settings.DEBUG", DEBUG=value), expected)

    def test_invalid_switch_is_refused(self):
        self.assert_refused("DEBUG", ("maybe", "2", "-1", "True!", "None"))

    def test_log_format_is_text_by_default(self):
        expression = "settings.LOGGING['handlers']['console']['formatter']"
        for value, expected in ((None, "text"), ("", "text"), ("text", "text"), ("json", "json")):
            with self.subTest(value=value):
                self.assertEqual(self.printed(expression, LOG_FORMAT=value), expected)
        self.assert_refused("LOG_FORMAT", ("JSON", "logfmt", "0"))

    def test_invalid_ports_are_refused(self):
        self.assert_refused("PORT", ("abc", "0", "-1", "65536", "80.0", "８０", "80 ", "9" * 30))

    def test_invalid_numbers_of_workers_are_refused(self):
        self.assert_refused("WEB_CONCURRENCY", ("abc", "0", "-1", "257", "2.5", "２"))

    def test_databases_other_than_postgresql_are_refused(self):
        urls = (
            "mysql://u@127.0.0.1/x",
            "sqlite:///x.sqlite3",
            "sqlite://:memory:",
            "x",
            "http://x/x",
        )
        self.assert_refused("DATABASE_URL", urls)
        self.assert_refused("DATABASE_REPLICA_URL", urls)

    def test_malformed_database_urls_are_refused_without_printing_the_password(self):
        urls = (
            f"postgresql://u:{PASSWORD}@127.0.0.1:port/x",
            f"postgresql://u:{PASSWORD}@127.0.0.1:99999999/x",
            f"postgresql://u:{PASSWORD}@[::1/x",
            f"postgresql://u:{PASSWORD}@127.0.0.1:5432",
            f"postgresql://u:{PASSWORD}@127.0.0.1:5432/",
            f"postgresql//u:{PASSWORD}@127.0.0.1/x",
            f"mysql://u:{PASSWORD}@127.0.0.1/x",
            f"u:{PASSWORD}@127.0.0.1/x",
            f"postgresql://u:{PASSWORD}@127.0.0.1:0/x",
            f"postgresql://u:{PASSWORD}@127.0.0.1/x?no_such_option=1",
            f"postgresql://u:{PASSWORD}@127.0.0.1/x?connect_timeout=soon",
        )
        self.assert_refused("DATABASE_URL", urls, secret=PASSWORD)
        self.assert_refused("DATABASE_REPLICA_URL", urls, secret=PASSWORD)

    def test_database_url_is_read(self):
        expression = "[settings.DATABASES['default'][n] for n in ('HOST', 'PORT', 'NAME', 'USER')]"
        url = f"postgresql://u:{PASSWORD}@db.example.com:5433/x"
        self.assertEqual(
            self.printed(expression, DATABASE_URL=url), "['db.example.com', 5433, 'x', 'u']"
        )

    def test_database_url_is_read_as_libpq_does(self):
        names = ("HOST", "PORT", "PASSWORD")
        expression = f"[settings.DATABASES['default'][n] for n in {names}]"
        for url, expected in (
            ("postgres://u:a+b%40@db.example.com/x", ["db.example.com", "", "a+b@"]),
            ("postgresql://u@a.example,b.example:5433/x", ["a.example,b.example", "5432,5433", ""]),
            ("postgresql://u@/x?host=/run/postgresql", ["/run/postgresql", "", ""]),
        ):
            with self.subTest(url=url):
                self.assertEqual(self.printed(expression, DATABASE_URL=url), str(expected))

    def test_server_side_cursors_are_disabled_for_poolers(self):
        expression = "settings.DATABASES['default']['DISABLE_SERVER_SIDE_CURSORS']"
        self.assertEqual(self.printed(expression), "True")

    def test_replica_is_configured_only_if_its_url_is_set(self):
        self.assertEqual(self.printed("[*settings.DATABASES]"), "['default']")
        self.assertEqual(
            self.printed("[*settings.DATABASES]", DATABASE_REPLICA_URL=""), "['default']"
        )
        expression = "[settings.DATABASES['replica'][n] for n in ('HOST', 'ENGINE')]"
        url = f"postgresql://u:{PASSWORD}@replica.example.com:5433/x"
        self.assertEqual(
            self.printed(expression, DATABASE_REPLICA_URL=url),
            "['replica.example.com', 'rivergen.postgresql']",
        )

    def test_replica_has_a_shorter_connect_timeout(self):
        expression = "[one['OPTIONS']['connect_timeout'] for one in settings.DATABASES.values()]"
        self.assertEqual(self.printed(expression, DATABASE_REPLICA_URL=DATABASE_URL), "[5, 2]")

    def test_storage_url_is_read(self):
        self.assertEqual(self.printed("settings.STORAGE_URL"), "None")
        for url, expected in (
            ("s3://files", ("files", "")),
            ("s3://files/", ("files", "")),
            ("s3://files.example/of/tenants=1/", ("files.example", "of/tenants=1/")),
        ):
            with self.subTest(url=url):
                printed = self.printed("settings.STORAGE_URL", STORAGE_URL=url)
                self.assertEqual(printed, str(expected))

    def test_malformed_storage_urls_are_refused_without_printing_keys(self):
        urls = (
            f"s3://key:{PASSWORD}@files/x",
            f"https://files.example.com/{PASSWORD}",
            f"s3://files/../{PASSWORD}",
            f"s3://files//{PASSWORD}",
            f"s3://files/x?key={PASSWORD}",
            f"s3:///{PASSWORD}",
            f"s3://Files/{PASSWORD}",
        )
        self.assert_refused("STORAGE_URL", urls, secret=PASSWORD)

    def test_allowed_hosts_are_local_by_default(self):
        self.assertEqual(
            self.printed("settings.ALLOWED_HOSTS"), "['127.0.0.1', 'localhost', '[::1]']"
        )
        hosts = self.printed("settings.ALLOWED_HOSTS", ALLOWED_HOSTS=" a.example, b.example ,")
        self.assertEqual(hosts, "['a.example', 'b.example']")

    def test_origins_of_pages_are_read(self):
        self.assertEqual(self.printed("settings.CORS_ALLOWED_ORIGINS"), "[]")
        for value in ("", " , "):
            printed = self.printed("settings.CORS_ALLOWED_ORIGINS", CORS_ALLOWED_ORIGINS=value)
            self.assertEqual(printed, "[]")
        origins = (
            *("https://app.example.com", "http://localhost:3000", "http://[::1]:8080"),
            *("http://127.0.0.1:1", "https://xn--bcher-kva.example", "https://a_b.example:65535"),
            "capacitor://localhost",
        )
        text = " , ".join(origins)
        printed = self.printed("*settings.CORS_ALLOWED_ORIGINS", CORS_ALLOWED_ORIGINS=text)
        self.assertEqual(printed, " ".join(origins))

    def test_origin_that_no_browser_sends_is_refused(self):
        origins = (
            *("*", "null", "app.example.com", "//app.example.com", "https://", "https:///x"),
            *("https://app.example.com/", "https://app.example.com/path", "https://a.example?x"),
            *("https://*.example.com", "https://user@app.example.com", "https://a.example#x"),
            *("https://app.example.com:", "https://app.example.com:0", "https://a.example:65536"),
            *("https://app.example.com:443", "http://app.example.com:80", "https://a.example:08"),
            *("https://App.example.com", "HTTPS://app.example.com", "https://bücher.example"),
            *("https://a.example https://b.example", "https://a.example,*", "file:///", "a\nb"),
            *("https://app.example.com:４４４", "https://app.example.com:+1", "https://[::1"),
        )
        self.assert_refused("CORS_ALLOWED_ORIGINS", origins)
        process = self.read(CORS_ALLOWED_ORIGINS="https://a.example,https://b.example/")
        self.assertIn("not 'https://b.example/'", process.stderr)

    def test_connections_to_a_silent_database_time_out(self):
        options = "connect_timeout", "tcp_user_timeout", "keepalives_idle"
        expression = f"[settings.DATABASES['default']['OPTIONS'][n] for n in {options}]"
        self.assertEqual(self.printed(expression), "[5, 5000, 5]")
        url = f"{DATABASE_URL}?connect_timeout=3&keepalives_idle=60"
        self.assertEqual(self.printed(expression, DATABASE_URL=url), "[3, 5000, 60]")

    def test_trusted_proxies_are_read(self):
        expression = "settings.FORWARDED_ALLOW_IPS"
        self.assertEqual(self.printed(expression), "['127.0.0.1', '::1']")
        proxies = self.printed(expression, FORWARDED_ALLOW_IPS="10.0.0.1,10.0.0.2")
        self.assertEqual(proxies, "['10.0.0.1', '10.0.0.2']")

    def test_egress_rules_are_read(self):
        rules = " 10.0.0.0/8, 127.0.0.1 ,fd00::/8,DB.Example.com.,*.Example.com,bücher.example ,"
        expected = (
            "10.0.0.0/8 127.0.0.1/32 fd00::/8 db.example.com *.example.com xn--bcher-kva.example"
        )
        for name in ("EGRESS_ALLOW", "EGRESS_DENY"):
            with self.subTest(name):
                self.assertEqual(self.printed(f"*settings.{name}", **{name: rules}), expected)
                self.assertEqual(self.printed(f"settings.{name}"), "[]")

    def test_egress_default_is_private_or_public(self):
        self.assertEqual(self.printed("settings.EGRESS_DEFAULT"), "private")
        self.assertEqual(self.printed("settings.EGRESS_DEFAULT", EGRESS_DEFAULT="public"), "public")
        self.assert_refused("EGRESS_DEFAULT", ["open", "PUBLIC", "1"])

    def test_invalid_egress_rules_are_refused_and_named(self):
        items = (
            "10.0.0.1/8",
            "10.0.0.0/33",
            "127.1",
            "0x7f000001",
            "2130706433",
            "300.0.0.1",
            "::ffff:10.0.0.0/104",
            "fe80::1%eth0",
            "[::1]",
            "*",
            "*.*.example.com",
            "a*.example.com",
            "https://example.com",
            "example.com:5432",
            "a b",
            "a..b",
        )
        for name in ("EGRESS_ALLOW", "EGRESS_DENY"):
            self.assert_refused(name, items)
        process = self.read(EGRESS_DENY="10.0.0.0/8,a b,127.1")
        self.assertIn("EGRESS_DENY is malformed: 'a b' is not a network", process.stderr)

    def test_metrics_are_for_this_machine_by_default_or_for_any_with_the_token(self):
        networks = "*settings.METRICS_ALLOW"
        token = "a-token-for-prometheus"
        self.assertEqual(self.printed(networks), "127.0.0.0/8 ::1/128")
        self.assertEqual(self.printed(networks, METRICS_TOKEN=token), "0.0.0.0/0 ::/0")
        both = {"METRICS_TOKEN": token, "METRICS_ALLOW": "10.0.0.7, fd00::/8"}
        self.assertEqual(self.printed(networks, **both), "10.0.0.7/32 fd00::/8")
        self.assertEqual(self.printed("settings.METRICS_TOKEN", **both), token)

    def test_weak_and_unsendable_metrics_tokens_are_refused(self):
        for token in ("secret", "a" * 15, "with a space in it", "schlüssel-schlüssel"):
            self.assert_refused("METRICS_TOKEN", (token,), secret=token)

    def test_invalid_networks_of_metrics_are_refused(self):
        self.assert_refused("METRICS_ALLOW", ("localhost", "10.0.0.1/8", "10.0.0.0/33", "*", "x/y"))

    def test_fast_password_hasher_is_for_tests_only(self):
        first = self.printed("settings.PASSWORD_HASHERS[0]")
        self.assertEqual(first, "organizations.sign_in.hashing.Argon2idPasswordHasher")
