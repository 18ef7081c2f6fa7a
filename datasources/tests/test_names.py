"""Names that look the same are one name, and what nobody sees is in none."""

from typing import Any
from urllib.parse import quote

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.test import SimpleTestCase

from datasources.models import DataSource
from datasources.testing import ADMIN_PAGES, DataSourceTestCase, admin_client, filled_in
from organizations.models import Organization, Workspace
from rivergen.names import normalized, validate_visible

COMPOSED, DECOMPOSED = "Caf\u00e9 Z\u00fcrich", "Cafe\u0301 Zu\u0308rich"
# As it is sent, and as it is stored.
SAME = {
    DECOMPOSED: COMPOSED,
    f" {DECOMPOSED}\n": COMPOSED,
    "\u1100\u1161": "\uac00",  # Hangul
    "\u212b": "\u00c5",  # Angstrom
    "Orders\u00a0CSV": "Orders CSV",
    "\u3000売上\u3000表\u3000": "売上 表",
    "Orders\u202f2024": "Orders 2024",
    "two  spaces": "two  spaces",
}
SHOWN_AS_THEY_ARE = (
    *(
        "Ünïcode 🚀",
        "👨\u200d👩\u200d👧",
        "❤\ufe0f",
        "🏳\ufe0f\u200d🌈",
        "1\ufe0f\u20e3",
        "👩🏽\u200d💻",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England
        "Sales 🏴\U000e0075\U000e0073\U000e0074\U000e0078\U000e007f",  # Texas
    ),
    *("می\u200cخواهم", "क\u094d\u200dष", "\u0600123", "Ωmega", "ß", "ẞ", "ﬁ", "𝐀"),
)
REFUSED = {
    "Orders\u200b": "Has the invisible character U+200B ZERO WIDTH SPACE. Remove it.",
    "\ufeffOrders": "Has the invisible character U+FEFF ZERO WIDTH NO-BREAK SPACE. Remove it.",
    "Or\u00adders": "Has the invisible character U+00AD SOFT HYPHEN. Remove it.",
    "\u202eOrders": "Has the invisible character U+202E RIGHT-TO-LEFT OVERRIDE. Remove it.",
    "Ord\u2066ers": "Has the invisible character U+2066 LEFT-TO-RIGHT ISOLATE. Remove it.",
    "Ord\u200ders": "Has the invisible character U+200D ZERO WIDTH JOINER. Remove it.",
    "Ord\u200cers": "Has the invisible character U+200C ZERO WIDTH NON-JOINER. Remove it.",
    "+\u200d+": "Has the invisible character U+200D ZERO WIDTH JOINER. Remove it.",
    "Orders\ufe0f": "Has the invisible character U+FE0F VARIATION SELECTOR-16. Remove it.",
    "Ord\u2060ers": "Has the invisible character U+2060 WORD JOINER. Remove it.",
    "Ord\u034fers": "Has the invisible character U+034F COMBINING GRAPHEME JOINER. Remove it.",
    "Ord\u3164ers": "Has the invisible character U+3164 HANGUL FILLER. Remove it.",
    "Ord\U000e0041": "Has the invisible character U+E0041 TAG LATIN CAPITAL LETTER A. Remove it.",
    "x🏴\U000e0067": "Has the invisible character U+E0067 TAG LATIN SMALL LETTER G. Remove it.",
    "🏴x\U000e007f": "Has the invisible character U+E007F CANCEL TAG. Remove it.",
    "\ue000\u200dx": "Has the invisible character U+200D ZERO WIDTH JOINER. Remove it.",
    "\u0378\u200cx": "Has the invisible character U+200C ZERO WIDTH NON-JOINER. Remove it.",
    "Orders\nCSV": "Has the control character U+000A LINE FEED. Remove it.",
    "Orders\r\nCSV": "Has the control character U+000D CARRIAGE RETURN. Remove it.",
    "Orders\tCSV": "Has the control character U+0009 TAB. Remove it.",
    "Orders\u2028CSV": "Has the control character U+2028 LINE SEPARATOR. Remove it.",
    "Orders\x1bCSV": "Has the control character U+001B. Remove it.",
    "Orders\x85CSV": "Has the control character U+0085. Remove it.",
}


class NameCharacterTests(SimpleTestCase):
    def test_names_that_look_the_same_have_one_form(self) -> None:
        for sent, stored in SAME.items():
            with self.subTest(sent):
                self.assertEqual(normalized(sent), stored)
                self.assertEqual(normalized(stored), stored)

    def test_long_text_is_not_normalized(self) -> None:
        text = "\u0315\u0300" * 1_000_000
        self.assertIs(normalized(text), text)

    def test_joiners_and_selectors_are_visible_where_they_change_their_neighbours(self) -> None:
        for name in SHOWN_AS_THEY_ARE:
            with self.subTest(name):
                validate_visible(name)
                self.assertEqual(normalized(name), name)


class NameTests(DataSourceTestCase):
    def send(self, body: dict[str, Any]) -> Any:
        return self.call("patch", self.path, body, self.editor)

    def fetch(self) -> DataSource:
        return DataSource.objects.get(pk=self.data_source.pk)

    def ids(self, query: str) -> list[int]:
        response = self.call("get", f"/data-sources?{query}", user=self.viewer)
        self.assertEqual(response.status_code, 200, response.content)
        return [row["id"] for row in response.json()["data"]]

    def test_api_shell_admin_and_declaration_store_one_form(self) -> None:
        client = admin_client(self.owner)
        page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"

        def by_admin(name: str) -> None:
            data = filled_in(client, page, name=name, tags=name)
            self.assertEqual(client.post(page, data).status_code, 302)

        ways = {
            "api": lambda name: self.send({"name": name, "tags": [name]}),
            "shell": lambda name: self.fetch().apply_changes(
                {"name": name, "tags": [name]}, user=self.editor
            ),
            "admin": by_admin,
        }
        for way, change in ways.items():
            for sent, stored in SAME.items():
                with self.subTest(way=way, sent=sent):
                    change(sent)
                    self.assertEqual((self.fetch().name, self.fetch().tags), (stored, [stored]))

    def test_name_with_an_invisible_character_is_refused_and_named(self) -> None:
        for name, sentence in REFUSED.items():
            for body in ({"name": name}, {"tags": [name]}):
                with self.subTest(body):
                    details = self.assert_error(self.send(body), 400, "BAD_REQUEST", *body)[
                        "details"
                    ]
                    self.assertEqual([*details.values()], [[sentence]])
                    with self.assertRaisesMessage(ValidationError, sentence):
                        self.fetch().apply_changes(body, user=self.editor)

    def test_decomposed_form_of_the_stored_name_and_tags_changes_nothing(self) -> None:
        self.send({"name": COMPOSED, "tags": [COMPOSED]})
        before = self.stored()["version"]
        response = self.send({"name": DECOMPOSED, "tags": [DECOMPOSED]})
        self.assertEqual((response.status_code, response.json()["changes"]), (200, {}))
        self.assertEqual(self.stored()["version"], before)
        self.fetch().apply_changes({"name": DECOMPOSED, "tags": [DECOMPOSED]}, user=self.editor)
        self.assertEqual(self.stored()["version"], before)

    def test_second_name_that_looks_the_same_is_taken(self) -> None:
        self.send({"name": COMPOSED})
        for name in (DECOMPOSED, DECOMPOSED.upper(), f"{COMPOSED}\u00a0", "Cafe\u0301\u00a0Zürich"):
            with self.subTest(name):
                body = {"name": name, "type": "csv"}
                response = self.call("post", "/data-sources", body, self.editor)
                self.assert_error(response, 400, "BAD_REQUEST", "name")
                with self.assertRaisesMessage(ValidationError, "already has a data source"):
                    DataSource.objects.create(workspace=self.workspace, name=name, type="csv")

    def test_tags_that_look_the_same_are_duplicates(self) -> None:
        self.assert_error(self.send({"tags": [COMPOSED, DECOMPOSED]}), 400, "BAD_REQUEST", "tags")
        self.assert_error(self.send({"tags": ["a b", "a\u00a0b"]}), 400, "BAD_REQUEST", "tags")

    def test_filters_find_the_composed_name_by_the_decomposed_one(self) -> None:
        self.send({"name": COMPOSED, "tags": [COMPOSED]})
        for name in (COMPOSED, DECOMPOSED, DECOMPOSED.upper()):
            self.assertEqual(self.ids(f"name={quote(name)}"), [self.data_source.pk])
            self.assertEqual(self.ids(f"search={quote(name)}"), [self.data_source.pk])
        self.assertEqual(self.ids(f"tag={quote(DECOMPOSED)}"), [self.data_source.pk])

    def test_applied_declaration_finds_the_source_by_a_name_that_looks_the_same(self) -> None:
        self.send({"name": COMPOSED, "tags": [COMPOSED]})
        self.workspace.name = "Büro"
        self.workspace.save_unique()
        declared = {"name": DECOMPOSED, "workspace": "Bu\u0308ro", "tags": [DECOMPOSED]}
        response = self.call(
            "post", "/data-sources/apply", {"data_sources": [declared]}, self.owner
        )
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual([step["action"] for step in response.json()["data"]["steps"]], ["keep"])

    def test_declared_names_that_look_the_same_are_declared_twice(self) -> None:
        entries = [{"name": name, "type": "csv"} for name in (COMPOSED, DECOMPOSED)]
        response = self.call("post", "/data-sources/apply", {"data_sources": entries}, self.owner)
        self.assertEqual(response.status_code, 400, response.content)
        self.assertIn("Declared twice", response.content.decode())

    def test_length_is_that_of_the_stored_form_by_all_ways(self) -> None:
        client = admin_client(self.owner)
        page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"
        for letters, spaces in ((255, ""), (255, "  "), (256, "")):
            name, tag = "e\u0301" * letters + spaces, "e\u0301" * (letters - 191) + spaces
            is_valid = letters == 255
            for body in ({"name": name}, {"tags": [tag]}):
                with transaction.atomic():
                    self.assertEqual(self.send(body).status_code, 200 if is_valid else 400)
                    by_api = self.stored()
                    transaction.set_rollback(True)
                form = {field: tag if field == "tags" else name for field in body}
                client.post(page, filled_in(client, page, **form))
                with self.subTest(letters=letters, spaces=spaces, field=[*body]):
                    self.assertEqual(
                        [self.stored()[field] for field in body], [by_api[field] for field in body]
                    )

    def test_source_with_an_older_name_stays_editable(self) -> None:
        """Rows from before these rules, or written by SQL."""
        for name in (DECOMPOSED, "Orders\u200b", "Orders\nCSV"):
            QuerySet(DataSource).filter(pk=self.data_source.pk).update(name=name, tags=[name])
            with self.subTest(name):
                shown = self.shown()
                response = self.send({**shown, "description": f"about {len(name)}"})
                self.assertEqual(response.status_code, 200, response.content)
                self.assertEqual([*response.json()["changes"]], ["description"])
                client = admin_client(self.owner)
                page = f"{ADMIN_PAGES}{self.data_source.pk}/change/"
                data = filled_in(client, page, max_retries=len(name) % 10)
                self.assertEqual(client.post(page, data).status_code, 302)
                self.assertEqual((self.fetch().name, self.fetch().tags), (name, [name]))
                self.assertEqual(self.fetch().max_retries, len(name) % 10)


class OtherNameTests(DataSourceTestCase):
    def test_admin_judges_names_of_organizations_and_workspaces_as_they_are_stored(self) -> None:
        client = admin_client(self.owner)
        page = f"/admin/organizations/organization/{self.acme.pk}/change/"

        def save(name: str, *workspaces: str) -> Any:
            form: dict[str, Any] = {"name": name, "slug": "acme"}
            form |= {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
            rows = [(self.workspace.pk, self.workspace.name), *(("", one) for one in workspaces)]
            form |= {"workspaces-TOTAL_FORMS": len(rows), "workspaces-INITIAL_FORMS": 1}
            for number, (pk, workspace) in enumerate(rows):
                form |= {f"workspaces-{number}-id": pk, f"workspaces-{number}-name": workspace}
            return client.post(page, form)

        self.assertContains(save("Acme", COMPOSED, DECOMPOSED), "correct the duplicate")
        self.assertEqual(self.acme.workspaces.count(), 1)
        self.assertEqual(save("e\u0301" * 255, "o\u0308" * 255).status_code, 302)
        self.acme.refresh_from_db()
        stored = [self.acme.name, *self.acme.workspaces.values_list("name", flat=True)]
        self.assertEqual(stored, ["\u00e9" * 255, "Default", "\u00f6" * 255])

    def test_workspaces_and_organizations_store_one_form(self) -> None:
        self.assertEqual(Organization.objects.create(name=DECOMPOSED, slug="x").name, COMPOSED)
        for path, user in (
            (f"/organizations/{self.acme.pk}", self.owner),
            (f"/organizations/{self.acme.pk}/workspaces/{self.workspace.pk}", self.admin),
        ):
            with self.subTest(path):
                response = self.call("patch", path, {"name": DECOMPOSED}, user)
                self.assertEqual(response.json()["data"]["name"], COMPOSED)
                for name, sentence in REFUSED.items():
                    error = self.assert_error(
                        self.call("patch", path, {"name": name}, user), 400, "BAD_REQUEST", "name"
                    )
                    self.assertEqual(error["details"]["name"], [sentence])
                listed = path.rpartition("/")[0]
                response = self.call("get", f"{listed}?name={quote(DECOMPOSED)}", None, user)
                self.assertEqual(len(response.json()["data"]), 1)

    def test_second_workspace_that_looks_the_same_is_taken(self) -> None:
        self.acme.workspaces.create(name=DECOMPOSED)
        path = f"/organizations/{self.acme.pk}/workspaces"
        for name in (COMPOSED, DECOMPOSED):
            response = self.call("post", path, {"name": name}, self.admin)
            self.assert_error(response, 400, "BAD_REQUEST", "name")
            with self.assertRaisesMessage(ValidationError, "already has a workspace"):
                Workspace(organization=self.acme, name=name).save_unique()

    def test_model_methods_refuse_invisible_characters(self) -> None:
        for name, sentence in REFUSED.items():
            with self.subTest(name):
                with self.assertRaisesMessage(ValidationError, sentence):
                    Workspace(organization=self.acme, name=name).save_unique()
                with self.assertRaisesMessage(ValidationError, sentence):
                    self.acme.change({"name": name})

    def test_member_is_found_by_the_decomposed_form_of_the_username(self) -> None:
        user = self.make_user("rene\u0301")
        path = f"/organizations/{self.acme.pk}/members"
        body = {"username": "rene\u0301", "role": "viewer"}
        response = self.call("post", path, body, self.owner)
        self.assertEqual(response.status_code, 201, response.content)
        self.assertEqual(response.json()["data"]["user_id"], user.pk)
        response = self.call(
            "get", f"{path}?username={quote('rene' + chr(0x301))}", None, self.owner
        )
        self.assertEqual(len(response.json()["data"]), 1)
