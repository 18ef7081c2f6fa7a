"""Hosts as people type them: what is refused, and with which sentence; which are the same."""

import hashlib
import json
from typing import Any
from urllib.parse import quote

from django.db.models import QuerySet

from datasources.credentials.exceptions import CredentialsUnconfirmed
from datasources.credentials.models import Credential
from datasources.credentials.testing import PASSWORD, CredentialTestCase
from datasources.models import DESTINATION_FIELDS, DataSource
from datasources.models.connection_strings import url_destination
from datasources.testing import DataSourceTestCase

# Spellings of one host each, the first as it is compared.
SAME = (
    ("db.example.com", "DB.Example.com.", "db。example．com", "ｄｂ.example.com"),
    ("xn--fa-hia.example", "faß.example", "FAẞ.example.", "XN--FA-HIA.Example", "ｆａß.example"),
    ("xn--bcher-kva.example", "bücher.example", "BU\u0308CHER.example"),
    ("xn--mgba3gch31f060k.example", "نامه\u200cای.example"),
    ("2001:db8::1", "2001:DB8:0:0:0:0:0:1"),
    ("10.0.0.5", "::ffff:10.0.0.5", "::FFFF:a00:5"),
)
DIFFERENT = (
    *("fass.example", "faß.example", "xn--fass-.example.com", "bucher.example", "bücher.example"),
    *("σας.example", "σασ.example", "نامهای.example", "نامه\u200cای.example", "10.0.0.5"),
)

SENTENCES = {
    " db.example.com": "Has a space at the start. Remove it.",
    "db.example.com ": "Has a space at the end. Remove it.",
    "\tdb.example.com\n": "Has a tab at the start and a line break at the end. Remove it.",
    "db.example.com\r": "Has a line break at the end. Remove it.",
    " ": "Has a space at the start and a space at the end, and nothing else.",
    "db.example.com\u00a0": "Has U+00A0 NO-BREAK SPACE at the end. Remove it.",
    "[::1]": "Write an IPv6 address without brackets: ::1",
    "[::1]:5432": "Write an IPv6 address without brackets, ::1, and put the port 5432 into port.",
    "fe80::1%eth0": "Write an IPv6 address without its zone: fe80::1",
    "https://db.example.com/": "Write the host alone: db.example.com",
    "db.example.com:5432": "Write the host alone, db.example.com, and put the port 5432 into port.",
    "db.example.com,1433": "Write the host alone, db.example.com, and put the port 1433 into port.",
    "db.example.com/orders": "Write the host alone: db.example.com",
    "reader@db.example.com": "Write the host alone. The user and the password belong in the "
    "credentials.",
    "postgresql://reader:s3cret@db.example.com:5432/orders": "Write the host alone. The user and "
    "the password belong in the credentials.",
    "jdbc:mysql://db.example.com/x": "Write the host alone: db.example.com. Or put the whole URL "
    "into connection_string.",
    "/var/run/postgresql": "Must be a host name or an IP address, and nothing else.",
    "db,replica": 'Must be a host name or an IP address. Has the character ",", which no host name '
    "has.",
    "a..b": "Must be a host name or an IP address. Has an empty part before, after or between its "
    "dots.",
    "db\u200b.example": "Must be a host name or an IP address. Has the invisible character U+200B "
    "ZERO WIDTH SPACE. Remove it.",
    "xn--n3h.example": "Must be a host name or an IP address. The part xn--n3h is not a valid "
    "internationalized name. Write it in its own letters.",
    "xn--fass-x.example": "Must be a host name or an IP address. The part xn--fass-x is not a "
    "valid internationalized name. Write it in its own letters.",
    "☃.example": 'Must be a host name or an IP address. Has the character "☃" (U+2603 SNOWMAN) '
    "where no name may have it.",
    "a\u200db.example": "Must be a host name or an IP address. Has the character U+200D ZERO WIDTH "
    "JOINER where no name may have it.",
    f"{'a' * 64}.example": "Must be a host name or an IP address. Has a part of 64 characters. "
    "Each part between dots has at most 63.",
    "ü" * 60: "Must be a host name or an IP address. Is not a valid internationalized name: Label "
    "too long.",
    ".".join(["ü" * 30] * 8): "Must be a host name or "
    "an IP address. Has 295 characters when written in ASCII. A host has at most 253.",
    "127.1": "Must be a host name or an IP address. Ends in a number, so that some programs read "
    "it as an IP address. Write an IPv4 address as four decimal numbers, such as 192.0.2.1.",
}


class HostErrorTests(DataSourceTestCase):
    def send(self, body: dict[str, Any]) -> Any:
        return self.call("patch", self.path, body, self.editor)

    def error(self, field: str, host: str) -> str:
        response = self.send({field: host})
        self.assert_error(response, 400, "BAD_REQUEST", field)
        [sentence] = response.json()["error"]["details"][field]
        return str(sentence)

    def test_refused_host_says_what_is_wrong_and_what_to_write(self) -> None:
        for host, sentence in SENTENCES.items():
            with self.subTest(host):
                self.assertEqual(self.error("host", host), sentence)

    def test_refused_ssh_host_names_the_ssh_port(self) -> None:
        self.assertIn("put the port 22 into ssh_port", self.error("ssh_host", "bastion:22"))

    def test_refused_host_repeats_no_password(self) -> None:
        for host in ("reader:s3cret@db", "s3cret@db", "postgresql://reader:s3@cret@db:1/x"):
            with self.subTest(host):
                self.assertNotRegex(self.error("host", host), "s3|cret")

    def test_stored_host_is_shown_as_it_was_typed(self) -> None:
        for spellings in SAME:
            for host in spellings:
                with self.subTest(host):
                    self.assertEqual(self.send({"host": host}).status_code, 200)
                    self.assertEqual(self.shown()["host"], host)
                    self.assertEqual(self.fetch().configuration({}).host, spellings[0])

    def test_connection_string_takes_an_escaped_name_and_gives_its_a_labels(self) -> None:
        for host in ("faß.example", "fa%C3%9F.example", "FA%e1%ba%9e.example."):
            with self.subTest(host):
                url = f"postgresql://{host}:5433/orders"
                self.assertEqual(self.send({"connection_string": url}).status_code, 200)
                self.assertEqual(self.shown()["connection_string"], url)
                configuration = self.fetch().configuration({})
                self.assertEqual(configuration.host, "xn--fa-hia.example")

    def test_filter_finds_a_host_by_each_of_its_spellings(self) -> None:
        for spellings in SAME[:4]:
            for stored in (spellings[0], spellings[0] + ".", spellings[1]):
                if not stored.isascii() and stored != stored.lower():
                    continue
                self.send({"host": stored})
                for host in spellings:
                    with self.subTest(stored=stored, host=host):
                        response = self.call(
                            "get", f"/data-sources?host={quote(host)}", None, self.viewer
                        )
                        self.assertEqual(len(response.json()["data"]), 1)

    def fetch(self) -> DataSource:
        return DataSource.objects.get(pk=self.data_source.pk)


class HostDestinationTests(CredentialTestCase):
    def destination(self, **fields: Any) -> str:
        source = DataSource(type="postgresql", use_ssh_tunnel=True, **fields)
        return source.destination

    def test_spellings_of_a_host_are_one_destination(self) -> None:
        for spellings in SAME:
            for host in spellings:
                with self.subTest(host):
                    for field in ("host", "ssh_host"):
                        expected = self.destination(**{field: spellings[0]})
                        self.assertEqual(self.destination(**{field: host}), expected)
                    if ":" in host:
                        continue
                    urls = [
                        f"postgresql://{part}:5432/x"
                        for part in (spellings[0], quote(host), host)
                        if ":" not in part
                    ]
                    digests = {self.destination(connection_string=url) for url in urls}
                    self.assertEqual(len(digests), 1, urls)

    def test_hosts_that_idna_2003_or_the_eye_confuses_are_different_destinations(self) -> None:
        hosts = dict.fromkeys(DIFFERENT)
        self.assertEqual(len({self.destination(host=host) for host in hosts}), len(hosts))

    def test_destination_of_a_plain_host_is_the_one_that_stored_secrets_are_sealed_to(self) -> None:
        source = DataSource(type="postgresql", host="db.example.com", port=5432)
        parts = [getattr(source, field) for field in DESTINATION_FIELDS]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        self.assertEqual(source.destination, digest)

    def test_editor_who_respells_hosts_leaves_secrets_and_host_key_confirmed(self) -> None:
        self.set_columns(ssh_host_key="ssh-ed25519 AAAA")
        self.fetch().set_credentials({"password": "new", "ssh_password": "new"}, user=self.owner)
        for change in (
            {"host": "DB.Example.com."},
            {"ssh_host": "Bastion.EXAMPLE.com."},
            {"connection_string": "postgresql://reader@db%2Eexample.com.:5432/x?sslmode=require"},
        ):
            with self.subTest(change):
                response = self.call("patch", self.path, change, self.editor)
                self.assertEqual(response.status_code, 200, response.content)
                self.assertEqual([*response.json()["changes"]], [*change])
                self.assertEqual(self.fetch().ssh_host_key, "ssh-ed25519 AAAA")
                self.assertEqual(self.fetch().credentials.open()["password"], "new")

    def test_editor_who_leaves_the_usual_ssh_port_to_the_service_moves_nothing(self) -> None:
        self.set_columns(ssh_host_key="ssh-ed25519 AAAA", ssh_host="bastion.example.com")
        for port in (None, 22, None):
            with self.subTest(port):
                response = self.call("patch", self.path, {"ssh_port": port}, self.editor)
                self.assertEqual(response.status_code, 200, response.content)
                self.assertEqual(self.fetch().ssh_host_key, "ssh-ed25519 AAAA")
                self.assertEqual(self.fetch().credentials_status, "set")

    def test_editor_who_writes_ss_for_sharp_s_leaves_secrets_unconfirmed(self) -> None:
        self.fetch().apply_changes({"host": "faß.example"}, user=self.owner)
        self.fetch().credentials.open()
        self.fetch().apply_changes({"host": "fass.example"}, user=self.editor)
        with self.assertRaises(CredentialsUnconfirmed):
            self.fetch().credentials.open()

    def test_secret_sealed_to_a_host_as_typed_is_unconfirmed_until_an_admin_confirms_it(
        self,
    ) -> None:
        """Releases before this one compared hosts as they were typed."""
        self.fetch().apply_changes({"host": "faß.example"}, user=self.owner)
        source = self.fetch()
        parts = [getattr(source, field) for field in DESTINATION_FIELDS]
        url = url_destination(source.connection_string or "", source.connector, source.port)
        parts.append(url)
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        for credential in Credential.objects.filter(data_source=source):
            credential.reseal(credential.destination, digest)
            credential.save()
        with self.assertRaises(CredentialsUnconfirmed):
            source.credentials.open()
        source.confirm_credentials(user=self.admin)
        self.assertEqual(self.fetch().credentials.open()["password"], PASSWORD)

    def set_columns(self, **columns: Any) -> None:
        QuerySet(DataSource).filter(pk=self.data_source.pk).update(**columns)
