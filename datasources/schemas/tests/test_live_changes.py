"""The whole way, live: the API, the jobs, a child process, the source, and what changed in it."""

import psycopg
from django.test import TransactionTestCase, override_settings

from datasources.connections.testing import run_jobs
from datasources.connections.tests import postgresql
from datasources.testing import DataSourceTestMixin
from rivergen.egress_rules import parse_rules

ORDERS = "CREATE TABLE orders (id int PRIMARY KEY, total numeric(10,2), note varchar(10) NOT NULL)"


@override_settings(EGRESS_ALLOW=parse_rules("127.0.0.0/8"))
class LiveChangesTests(DataSourceTestMixin, TransactionTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.postgresql = cls.enterClassContext(postgresql.PostgreSQLServer())

    def setUp(self):
        self.make_world()

    def test_tells_what_changed(self):
        self.data_source.apply_changes(
            {"host": "127.0.0.1", "port": self.postgresql.port, "database_name": "shop"},
            user=self.owner,
        )
        self.data_source.set_credentials(
            {"username": postgresql.USERNAME, "password": postgresql.PASSWORD}, user=self.owner
        )
        with psycopg.connect(
            host="127.0.0.1",
            port=self.postgresql.port,
            dbname="shop",
            user=postgresql.USERNAME,
            password=postgresql.PASSWORD,
            autocommit=True,
        ) as connection:
            connection.execute(ORDERS)
            connection.execute("CREATE TABLE old (id int)")
            self.refresh()
            print(self.call("get", f"{self.path}/schema", user=self.viewer).json())
            connection.execute("ALTER TABLE orders ALTER total TYPE text, ALTER note DROP NOT NULL")
            connection.execute("DROP TABLE old; CREATE TABLE new (id int)")
        self.refresh()
        print(self.call("get", f"{self.path}/schema/changes?page_size=2", user=self.viewer).json())
        print(self.shown())

    def refresh(self):
        response = self.call("post", f"{self.path}/schema/refresh", user=self.editor)
        print(response.json())
        run_jobs()
        print(self.call("get", f"{self.path}/schema/refresh", user=self.viewer).json())
