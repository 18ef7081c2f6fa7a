"""Tests of the filters of GET /data-sources by which programs find what they look for."""

from datetime import UTC, datetime, timedelta
from typing import ClassVar

from datasources.connections.connectors import type_choices
from datasources.models import DataSource
from datasources.testing import DataSourceTestCase
from rivergen.http.serializers import utc_text


class FilterTests(DataSourceTestCase):
    ids: ClassVar[dict[str, int]]

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        second = cls.acme.workspaces.create(name="Second")
        for workspace, name, type_, host in (
            (cls.workspace, "Orders", "mysql", "DB.example.com"),
            (second, "ORDERS", "mariadb", "bücher.example"),
            (cls.workspace, "Orders 2", "csv", None),
            (cls.workspace, "Straße", "oracle", "xn--strae-oqa.example"),
            (cls.globex.workspaces.get(), "Orders", "mysql", "db.example.com"),
        ):
            DataSource.objects.create(workspace=workspace, name=name, type=type_, host=host)
        rows = DataSource.objects.filter(organization=cls.acme)
        cls.ids = {row.name: row.pk for row in rows}
        rows.filter(name="Orders 2").record_schema(schema_status="failed")
        rows.filter(name="Straße").record_test({"ok": False}, version=1)

    def names(self, query: str) -> list[str]:
        response = self.call("get", f"/data-sources?{query}", user=self.viewer)
        self.assertEqual(response.status_code, 200, response.content)
        return [row["name"] for row in response.json()["data"]]

    def assert_names(self, cases: dict[str, list[str]]) -> None:
        for query, expected in cases.items():
            with self.subTest(query=query):
                self.assertEqual(sorted(self.names(query)), sorted(expected))

    def assert_refused(self, query: str, sentence: str) -> None:
        with self.subTest(query=query[:50]):
            response = self.call("get", f"/data-sources?{query}", user=self.viewer)
            name = query.partition("=")[0]
            error = self.assert_error(response, 400, "BAD_REQUEST", name)
            self.assertEqual(error["details"][name], [sentence])

    def test_name_finds_the_whole_name_ignoring_case_and_surrounding_space(self):
        both = ["Orders", "ORDERS"]
        self.assert_names(
            {
                "name=orders": both,
                "name=%20Orders%20": both,
                "name=Order": [],
                "name=Orders%25": [],
                "name=orders_2": [],
                "name=orders%202": ["Orders 2"],
                "name=STRA%C3%9FE": ["Straße"],
                f"name=orders&workspace_id={self.workspace.pk}": ["Orders"],
                f"name=orders&organization_id={self.globex.pk}": [],
            }
        )

    def test_name_finds_every_stored_name_that_the_unique_constraint_would_refuse(self):
        for name in ("İstanbul", "ΣΊΣΥΦΟΣ", "ǅ", "a\u00a0b"):
            stored = DataSource.objects.create(workspace=self.workspace, name=name, type="csv").name
            for spelling in (name, name.lower(), name.upper()):
                other = DataSource(workspace=self.workspace)
                with self.subTest(name=name, spelling=spelling):
                    is_found = stored in self.names(f"name={spelling}")
                    self.assertEqual(is_found, other.is_name_taken(spelling))

    def test_host_finds_the_whole_host_in_any_case_and_both_spellings_of_a_name(self):
        self.assert_names(
            {
                "host=db.example.com": ["Orders", "Production PostgreSQL"],
                "host=Db.Example.Com": ["Orders", "Production PostgreSQL"],
                "host=example.com": [],
                "host=db_example.com": [],
                "host=b%C3%BCcher.example": ["ORDERS"],
                "host=xn--bcher-kva.example": ["ORDERS"],
                "host=XN--BCHER-KVA.EXAMPLE": ["ORDERS"],
                "host=stra%C3%9Fe.example": ["Straße"],
                "host=STRA%E1%BA%9EE.example.": ["Straße"],
                "host=strasse.example": [],  # what IDNA 2003 makes of straße.example
                "host=xn--strae-oqa.example": ["Straße"],
            }
        )

    def test_text_in_the_sentence_about_a_filter_is_not_formatted(self):
        self.assert_refused(
            "host=%25s%25",
            'Must be a host name or an IP address. Has the character "%", which no host name has.',
        )

    def test_type_status_and_id_may_be_repeated_for_any_of_them(self):
        ids = self.ids
        self.assert_names(
            {
                "type=mysql&type=csv": ["Orders", "Orders 2"],
                "type=csv&type=csv": ["Orders 2"],
                "status=error": ["Straße"],
                "status=error&status=active": list(ids),
                f"id={ids['Orders']}": ["Orders"],
                f"id={ids['Orders']}&id={ids['Straße']}": ["Orders", "Straße"],
                f"id={ids['Orders']}&id={ids['Orders']}&id=999999999": ["Orders"],
                f"id={ids['Orders']}&type=csv": [],
                "type=mysql&type=oracle&status=error": ["Straße"],
                "&".join(f"id={pk}" for pk in range(10**17, 10**17 + 200)): [],
            }
        )

    def test_ids_of_other_organizations_are_not_found(self):
        theirs = DataSource.objects.get(organization=self.globex)
        self.assertEqual(self.names(f"id={theirs.pk}&id={self.ids['Orders']}"), ["Orders"])

    def test_schema_status_selects_by_the_state_of_the_schema(self):
        self.assert_names({"schema_status=failed": ["Orders 2"], "schema_status=ready": []})

    def test_pages_of_repeated_filters_keep_all_of_them(self):
        query, found = "type=mysql&type=mariadb&type=oracle&page_size=1", []
        while query:
            page = self.call("get", f"/data-sources?{query}", user=self.viewer).json()
            found += [row["name"] for row in page["data"]]
            query = (page["pagination"]["next"] or "").partition("?")[2]
        self.assertEqual(sorted(found), ["ORDERS", "Orders", "Straße"])

    def test_updated_after_and_before_leave_out_the_moment_itself(self):
        moment = datetime(2024, 12, 1, 11, 0, 0, 500, tzinfo=UTC)
        step = timedelta(microseconds=1)
        times = {"before": moment - step, "at": moment, "after": moment + step}
        DataSource.objects.all().delete()
        DataSource.objects.bulk_create(
            DataSource(workspace=self.workspace, name=name, type="csv", updated_at=time)
            for name, time in times.items()
        )
        text = utc_text(moment)
        for parameter, names in (("updated_after", ["after"]), ("updated_before", ["before"])):
            response = self.call("get", f"/data-sources?{parameter}={text}", user=self.viewer)
            self.assertEqual([one["name"] for one in response.json()["data"]], names)

    def test_bad_values_are_refused_by_the_name_of_their_parameter(self):
        self.assert_refused("name=", "Must not be empty.")
        self.assert_refused("name=%20", "Must not be empty.")
        self.assert_refused("name=%00", "Null characters are not allowed.")
        self.assert_refused(
            f"name={'n' * 256}", "Ensure this value has at most 255 characters (it has 256)."
        )
        self.assert_refused("host=", "Must not be empty.")
        for host, sentence in {
            "db.example.com:5432": "Write the host alone, db.example.com, and put the port 5432 "
            "into port.",
            "https://db.example.com": "Write the host alone: db.example.com",
            "a" * 254: "Must be a host name or an IP address. A host has at most 253 characters.",
        }.items():
            self.assert_refused(f"host={host}", sentence)
        self.assert_refused("type=csv&type=", "Must not be empty.")
        types = ", ".join(name for name, _ in type_choices())
        self.assert_refused("type=csv&type=CSV", f"Must be one of: {types}.")
        self.assert_refused("status=", "Must not be empty.")
        sentence = "Must be one of: unread, refreshing, ready, failed."
        self.assert_refused("schema_status=read", sentence)
        self.assert_refused("id=1&id=x", "Must be an id: 1 to 18 digits.")
        self.assert_refused("id=1,2", "Must be an id: 1 to 18 digits.")
        self.assert_refused("id=", "Must not be empty.")
        for name, most in (("id", 200), ("tag", 50)):
            query = "&".join([f"{name}=1"] * (most + 1))
            self.assert_refused(query, f"Must not be given more than {most} times.")

    def test_other_parameters_may_not_be_repeated(self):
        once = "Must not be given more than once."
        for name in ("name", "host", "schema_status", "credentials_status", "cursor", "ordering"):
            self.assert_refused(f"{name}=a&{name}=a", once)
