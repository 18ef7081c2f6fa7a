"""Tests of `manage.py export_data_sources` and `manage.py apply_data_sources`."""

import json
import os
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from django.core.management import CommandError, call_command
from django.db import transaction

from datasources.management.commands import apply_data_sources
from datasources.models import DataSource, DataSourceRevision
from datasources.testing import DataSourceTestCase
from organizations.models import Organization, Workspace
from organizations.testing import sql

SECRETS = {"SHOP_PASSWORD": "hunter2", "OTHER_PASSWORD": "hunter3"}
# Characters that YAML forbids, even in comments, and characters that end a comment.
NAUGHTY_NAMES = (
    *(
        "\x01",
        "\x07 bell",
        "a\x1b[31m",
        "\x7f",
        "\x80",
        "\ufffe",
        "\uffff",
        "\U000e0001",
        "\U0010ffff",
    ),
    *("a\nb: [", "\r- c", "a\x85b", "\u2028", "\ufeff", "{name}", "ü" * 255),
)
# Names that the rules for names allow.
ODD_NAMES = (
    *(
        "\ufffe",
        "\uffff",
        "\U0010ffff",
        "\ue000",
        "{name}",
        "ü" * 255,
        "b: [",
        "- c",
        "# d",
        "!!bool e",
    ),
    *("👨\u200d👩\u200d👧", "می\u200cخواهم", "'", '"', "\\n", "~", "1e3"),
)
CREDENTIALS = '"datasources_credential"'
NEW = """
- name: Lake
  type: parquet
  file_path: lake.parquet
"""


class ApplyTestCase(DataSourceTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(TemporaryDirectory()))
        self.enterContext(mock.patch.dict(os.environ, SECRETS))

    def export(self) -> str:
        output = StringIO()
        call_command("export_data_sources", "--organization=acme", stdout=output)
        return output.getvalue()

    def apply(self, text: str, *arguments: str) -> str:
        """Apply a file, and return what is printed. Raises CommandError."""
        file = self.folder / "sources.yaml"
        file.write_text(text)
        output = StringIO()
        call_command("apply_data_sources", str(file), *arguments, stdout=output)
        return output.getvalue()

    def apply_entries(self, entries: str, *arguments: str) -> str:
        return self.apply(f"organization: acme\ndata_sources:\n{entries}", *arguments)

    def everything(self) -> list[Any]:
        models: Any = (DataSource, DataSourceRevision)
        return [[*model._default_manager.order_by("pk").values()] for model in models]

    def make_many(self, prefix: str, count: int) -> None:
        """Create data sources named by the prefix and a number, each with a secret."""
        for number in range(count):
            data_source = DataSource.objects.create(
                workspace=self.workspace, name=f"{prefix}{number}", type="mysql", port=3306
            )
            data_source.set_credentials({"password": "hunter2"}, user=None)

    def statements_of(self, entries: str, *arguments: str) -> list[str]:
        with self.statements() as captured:
            self.apply_entries(entries, *arguments)
        return sql(captured)

    def current(self) -> DataSource:
        return DataSource.objects.get(pk=self.data_source.pk)


class ExportTests(ApplyTestCase):
    def test_applying_an_export_changes_nothing(self) -> None:
        second = Workspace.objects.create(organization=self.acme, name="no")
        self.data_source.set_credentials(
            {"username": "reader", "password": "hunter2"}, user=self.owner
        )
        self.data_source.apply_changes(
            {
                "metadata": {"yes": ["no", 1, 1.5, None, {"a\x85b": True}], "when": "2024-12-01"},
                "tags": ["010", "~", "a: b", "ümlaut"],
                "description": "first\nsecond \u2028\n\n  - third: #4\t",
                "connection_string": "postgresql://reader@db.example.com/shop?sslmode=require",
            },
            user=self.owner,
        )
        for name in ("null", "1.0", "# no comment", "'quoted'"):
            DataSource.objects.create(workspace=second, name=name, type="csv", file_path="a.csv")
        DataSource.objects.create(workspace=self.globex.workspaces.get(), name="Theirs", type="csv")
        text = self.export()
        self.assertNotIn("hunter2", text)
        self.assertNotIn("Theirs", text)
        self.assertIn("# password is set.", text)
        before = self.everything()
        summary = "Created: 0; changed: 0; deleted: 0; unchanged: 5.\n"
        self.assertEqual(self.apply(text, "--prune"), summary)
        self.assertEqual(self.everything(), before)

    def test_applying_an_export_changes_nothing_whatever_the_names_contain(self) -> None:
        for name in NAUGHTY_NAMES:
            with self.subTest(organization=ascii(name)):
                # By SQL: names of organizations may be older than the rules for names.
                Organization.objects.filter(pk=self.acme.pk).update(name=name)
                self.assertIn("unchanged: 1.", self.apply(self.export(), "--prune"))
        for name in ODD_NAMES:
            with self.subTest(ascii(name)):
                self.workspace.name = name
                self.workspace.save_unique()
                self.data_source.apply_changes({"name": f"x{name[:250]}x"}, user=self.owner)
                self.assertIn("unchanged: 1.", self.apply(self.export(), "--prune"))

    def test_applying_an_export_recreates_deleted_data_sources(self) -> None:
        self.data_source.apply_changes({"port": 5433, "tags": ["a"]}, user=self.owner)
        text = self.export()
        self.data_source.delete()
        self.apply(text)
        made = DataSource.objects.get()
        self.assertEqual((made.name, made.port, made.tags), (self.data_source.name, 5433, ["a"]))
        self.assertEqual(self.export(), text)

    def test_export_of_an_organization_without_data_sources_can_be_applied(self) -> None:
        self.data_source.delete()
        self.assertIn("data_sources: []", self.export())
        self.assertIn("unchanged: 0.", self.apply(self.export()))

    def test_export_refuses_an_unknown_or_missing_organization(self) -> None:
        with self.assertRaisesMessage(CommandError, "There is no organization nowhere."):
            call_command("export_data_sources", "--organization=nowhere")
        with self.assertRaisesMessage(CommandError, "--organization"):
            call_command("export_data_sources")


class ApplyTests(ApplyTestCase):
    def test_apply_creates_and_changes_and_keeps_undeclared_fields(self) -> None:
        entries = f"{NEW}- name: Production PostgreSQL\n  port: 5433\n  tags: [a]\n"
        output = self.apply_entries(entries)
        lake = DataSource.objects.get(name="Lake")
        self.assertEqual((lake.type, lake.workspace_id), ("parquet", self.workspace.pk))
        changed = self.current()
        self.assertEqual(
            (changed.port, changed.tags, changed.host), (5433, ["a"], "db.example.com")
        )
        self.assertEqual((changed.version, changed.updated_by), (2, None))
        revision = changed.revisions.first()
        assert revision is not None
        self.assertEqual((revision.origin, set(revision.changes)), ("shell", {"port", "tags"}))
        self.assertEqual(
            output.splitlines(),
            [
                "+ Default/Lake (parquet)",
                "~ Default/Production PostgreSQL (postgresql)",
                "    port: 5432 -> 5433",
                '    tags: [] -> ["a"]',
                "Created: 1; changed: 1; deleted: 0; unchanged: 0.",
            ],
        )
        again = self.apply_entries(entries)
        self.assertEqual(again, "Created: 0; changed: 0; deleted: 0; unchanged: 2.\n")

    def test_plan_prints_the_steps_of_apply_and_stores_nothing(self) -> None:
        entries = f"{NEW}- name: production postgresql\n  port: 5433\n"
        before = self.everything()
        planned = self.apply_entries(entries, "--plan", "--prune")
        self.assertEqual(self.everything(), before)
        *steps, summary = planned.splitlines()
        self.assertEqual(summary, "To create: 1; to change: 1; to delete: 0; unchanged: 0.")
        self.assertEqual(self.apply_entries(entries, "--prune").splitlines()[:-1], steps)

    def test_only_prune_deletes_undeclared_data_sources(self) -> None:
        self.assertIn("deleted: 0", self.apply_entries(NEW))
        output = self.apply_entries(NEW, "--prune")
        self.assertIn("- Default/Production PostgreSQL (postgresql)\n", output)
        self.assertEqual([one.name for one in DataSource.objects.all()], ["Lake"])

    def test_number_of_reads_does_not_grow_with_the_number_of_data_sources(self) -> None:
        entry = "- name: a{}\n  port: 3306\n  credentials: {{password: '${{env:SHOP_PASSWORD}}'}}\n"
        self.make_many("a", 3)
        one = self.statements_of(entry.format(0))
        self.make_many("b", 3)
        many = self.statements_of("".join(map(entry.format, range(3))))
        self.assertEqual(len(many), len(one), many)
        self.assertEqual(sum(CREDENTIALS in statement for statement in many), 1)
        without = self.statements_of("- name: a0\n  credentials: {username: null}\n")
        self.assertFalse([statement for statement in without if CREDENTIALS in statement])

    def test_prune_takes_as_few_statements_for_many_data_sources_as_for_one(self) -> None:
        counts = []
        for number in (1, 4):
            self.apply_entries(NEW, "--prune")
            self.make_many("a", number)
            statements = self.statements_of(NEW, "--prune")
            counts.append(len(statements))
            self.assertEqual(DataSource.objects.get().name, "Lake")
        self.assertEqual(counts[0], counts[1], statements)

    def test_declared_names_are_compared_as_the_database_compares_names(self) -> None:
        for stored, declared in (("ΟΔΟΣ", "οδος"), ("ΟΔΟΣ", "οδοσ"), ("İ", "i"), ("ẞ", "ß")):
            with self.subTest(f"{stored}, {declared}"):
                DataSource.objects.all().delete()
                DataSource.objects.create(workspace=self.workspace, name=stored, type="csv")
                is_same = DataSource(workspace=self.workspace).is_name_taken(declared)
                output = self.apply_entries(f"- name: {declared}\n  type: csv\n")
                self.assertIn(f"Created: {int(not is_same)};", output)
                twice = f"- name: {declared}\n  type: csv\n- name: {stored}\n  type: csv\n"
                if is_same:
                    with self.assertRaisesMessage(CommandError, "Declared twice"):
                        self.apply_entries(twice)
                else:
                    self.assertIn("unchanged: 2", self.apply_entries(twice))

    def test_prune_keeps_data_sources_of_other_organizations(self) -> None:
        theirs = self.globex.workspaces.get()
        DataSource.objects.create(workspace=theirs, name="Theirs", type="csv")
        self.apply_entries(NEW, "--prune")
        self.assertEqual(theirs.data_sources.count(), 1)

    def test_secrets_are_set_by_reference_and_only_when_they_differ(self) -> None:
        entry = "- name: Production PostgreSQL\n  credentials:\n    username: reader\n"
        password = "    password: ${env:SHOP_PASSWORD}\n"
        output = self.apply_entries(entry + password)
        self.assertEqual(self.current().credentials.open(), {"password": "hunter2"})
        self.assertEqual(self.current().username, "reader")
        self.assertIn('password: "unset" -> "set"', output)
        self.assertNotIn("hunter2", output)
        self.assertIn("unchanged: 1", self.apply_entries(entry + password))
        self.apply_entries(entry + "    password: ${env:OTHER_PASSWORD}\n")
        self.assertEqual(self.current().credentials.open(), {"password": "hunter3"})
        self.apply_entries(entry)
        self.assertEqual(self.current().credentials.open(), {"password": "hunter3"})
        self.apply_entries(entry + "    password: null\n")
        self.assertEqual(self.current().credentials.open(), {})

    def test_moving_the_host_leaves_secrets_unconfirmed_unless_they_are_declared(self) -> None:
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        entry = "- name: Production PostgreSQL\n  host: moved.example.com\n"
        self.apply_entries(entry)
        self.assertEqual(self.current().credentials_status, "unconfirmed")
        self.apply_entries(f"{entry}  credentials: {{password: '${{env:SHOP_PASSWORD}}'}}\n")
        self.assertEqual(self.current().credentials_status, "set")

    def test_unconfirmed_secrets_can_be_set_again_or_cleared(self) -> None:
        self.data_source.set_credentials({"password": "hunter2"}, user=self.owner)
        self.data_source.apply_changes({"host": "a.example.com"}, user=self.editor)
        entry = "- name: Production PostgreSQL\n  credentials: {password: "
        self.apply_entries(f"{entry}'${{env:SHOP_PASSWORD}}'}}\n  host: moved.example.com\n")
        self.assertEqual(self.current().credentials_status, "set")
        self.data_source.apply_changes({"host": "b.example.com"}, user=self.editor)
        self.assertEqual(self.current().credentials_status, "unconfirmed")
        self.apply_entries(f"{entry}null}}\n")
        self.assertEqual(self.current().credentials_status, "unset")

    def test_secret_is_not_entered_for_a_destination_that_the_file_does_not_declare(self) -> None:
        entry = (
            "- name: Production PostgreSQL\n  host: db.example.com\n"
            "  credentials: {password: '${env:SHOP_PASSWORD}'}\n"
        )
        for first in (entry, ""):  # with and without a secret that the move leaves unconfirmed
            for moved in (
                {"connection_string": "postgresql://evil.example.com/x"},
                {"use_ssh_tunnel": True, "ssh_host": "evil.example.com", "ssh_username": "me"},
                {"port": 6666},
            ):
                with self.subTest(moved, is_stored=bool(first)), transaction.atomic():
                    self.apply_entries(first or NEW)
                    self.current().apply_changes(moved, user=self.editor)
                    before = self.everything()
                    with self.assertRaises(CommandError) as caught:
                        self.apply_entries(entry)
                    for field, value in moved.items():
                        words = f"{field}: Stored as {json.dumps(value)}, but not declared."
                        self.assertIn(words, str(caught.exception))
                    self.assertEqual(self.everything(), before)
                    nulls = "".join(f"  {field}: {json.dumps(moved[field])}\n" for field in moved)
                    self.apply_entries(entry + nulls)
                    self.assertEqual(self.current().credentials_status, "set")
                    transaction.set_rollback(True)

    def test_secret_without_a_destination_is_not_entered_while_others_wait(self) -> None:
        entry = "- name: Production PostgreSQL\n  credentials: {password: '${env:SHOP_PASSWORD}'}\n"
        self.apply_entries(entry)
        self.data_source.apply_changes({"host": "evil.example.com"}, user=self.editor)
        with self.assertRaisesMessage(CommandError, 'host: Stored as "evil.example.com"'):
            self.apply_entries(entry)
        self.assertEqual(self.current().credentials_status, "unconfirmed")
        self.data_source.confirm_credentials(user=self.admin)
        self.assertIn("unchanged: 1", self.apply_entries(entry))

    def test_new_data_source_is_created_with_its_secrets(self) -> None:
        self.apply_entries(
            "- name: Shop\n  type: mysql\n  host: db\n  database_name: shop\n"
            "  credentials: {username: reader, password: '${env:SHOP_PASSWORD}'}\n"
        )
        shop = DataSource.objects.get(name="Shop")
        self.assertEqual(shop.credentials.open(), {"password": "hunter2"})
        self.assertEqual((shop.username, shop.port), ("reader", 3306))

    def test_apply_reads_standard_input_and_the_organization_argument(self) -> None:
        output = StringIO()
        stdin = mock.Mock(buffer=BytesIO(f"data_sources:\n{NEW}".encode()))
        with mock.patch("sys.stdin", stdin):
            call_command("apply_data_sources", "-", "--organization=acme", stdout=output)
        self.assertTrue(DataSource.objects.filter(name="Lake").exists())

    def test_problems_are_reported_with_file_and_line_and_nothing_changes(self) -> None:
        before = self.everything()
        head = f"organization: acme\ndata_sources:\n{NEW.strip()}\n- name: Shop\n"
        for entries, places in (
            # Problems are reported in stages: shape of the file; names and workspaces; values.
            (
                "  prot: 1\n  port: 0\n- name: 5\n",
                ["line 7: data_sources[1].prot", "line 9: data_sources[2].name"],
            ),
            (
                "  port: 0\n- name: LAKE\n- name: Other\n  workspace: Nowhere\n",
                ["line 8: data_sources[2].name", "line 10: data_sources[3].workspace"],
            ),
            (
                "  port: '1'\n  host: a b\n- name: Other\n  type: oracel\n",
                [
                    "line 6: data_sources[1].type",
                    "line 7: data_sources[1].port",
                    "line 8: data_sources[1].host",
                    "line 10: data_sources[2].type",
                ],
            ),
        ):
            with self.subTest(entries), self.assertRaises(CommandError) as caught:
                self.apply(head + entries)
            *problems, last = str(caught.exception).splitlines()
            self.assertEqual(last, "Nothing was changed.")
            file = self.folder / "sources.yaml"
            self.assertEqual(len(problems), len(places), problems)
            for problem, place in zip(problems, places, strict=True):
                self.assertTrue(problem.startswith(f"{file}: {place}: "), problem)
        self.assertEqual(self.everything(), before)

    def test_each_kind_of_mistake_in_a_file_has_its_message(self) -> None:
        before = self.everything()
        shop = "- name: Production PostgreSQL\n  "
        for entries, words in (
            (f"{shop}type: mysql\n", "line 4: data_sources[0].type: This field is read-only"),
            (f"{shop}password: x\n", "Belongs in credentials"),
            (f"{shop}credentials: x\n", "references"),
            (f"{shop}credentials: {{password: hunter2}}\n", "Must be a reference"),
            (f"{shop}credentials: {{pasword: x}}\n", "Unknown field. Did you mean password?"),
            (f"{shop}credentials: {{token: '${{env:SHOP_PASSWORD}}'}}\n", "credentials.token"),
            (f"{shop}connection_string: postgresql://r:hunter2@db/x\n", "as a reference"),
            (f"{shop}connection_string: nonsense\n", "connection_string"),
            (f"{shop}use_ssh_tunnel: true\n", "ssh_host"),
            (f"{shop}metadata: {{password: x}}\n", "metadata"),
            (f"{shop}workspace: Nowhere\n", "There are: Default"),
            (f"{shop}id: 5\n", "Unknown field."),
            ("- name: 5\n", "Must be a string"),
            ("- type: csv\n", "Must be a string"),
            ("- just text\n", "Must be a mapping with a name"),
            ("- name: ' '\n", "may not be blank"),
            ('- name: "a\\0b"\n', "Null characters"),
        ):
            with self.subTest(entries), self.assertRaises(CommandError) as caught:
                self.apply_entries(entries)
            self.assertIn(words, str(caught.exception))
            self.assertNotIn("hunter2", str(caught.exception))
            self.assertTrue(str(caught.exception).endswith("\nNothing was changed."))
        self.assertEqual(self.everything(), before)

    def test_apply_refuses_files_that_are_not_declarations(self) -> None:
        for text, words in (
            ("", "a list named data_sources"),
            ("[]", "a list named data_sources"),
            ("organization: acme", "data_sources: Must be a list"),
            ("organization: 5\ndata_sources: []", "short name"),
            ("organization: nowhere\ndata_sources: []", "no organization nowhere"),
            ("organization: globex\ndata_sources: []", "The file is for globex, not for acme."),
            ("data_sources: []\nprune: true", "prune: Unknown field."),
            ("data_sources: [", "Not valid YAML"),
        ):
            arguments = () if "nowhere" in text else ("--organization=acme",)
            with self.subTest(text), self.assertRaisesMessage(CommandError, words):
                self.apply(text, *arguments)
        with self.assertRaisesMessage(
            CommandError, "The file names no organization. Add --organization"
        ):
            self.apply("data_sources: []")
        with self.assertRaisesMessage(CommandError, "cannot be read: No such file"):
            call_command("apply_data_sources", str(self.folder / "nowhere.yaml"))
        (self.folder / "binary").write_bytes(b"\xff")
        with self.assertRaisesMessage(CommandError, "is not UTF-8 text"):
            call_command("apply_data_sources", str(self.folder / "binary"))

    def test_apply_refuses_a_file_that_is_too_large(self) -> None:
        file = self.folder / "large.yaml"
        file.write_text("#ü#")
        for limit in (1, 2, 3):  # in bytes: ü has two
            with (
                self.subTest(limit),
                mock.patch.object(apply_data_sources, "FILE_BYTES_MAX", limit),
                self.assertRaisesMessage(CommandError, f"is larger than {limit} bytes."),
            ):
                call_command("apply_data_sources", str(file), "--organization=acme")
        with (
            mock.patch.object(apply_data_sources, "FILE_BYTES_MAX", 4),
            self.assertRaisesMessage(CommandError, "a list named data_sources"),
        ):
            call_command("apply_data_sources", str(file), "--organization=acme")
