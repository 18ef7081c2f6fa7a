"""The second wall where clients share a connection, by PgBouncer, and on a streaming replica."""

from django.core.management import call_command
from django.db import connections, transaction
from django.test import TransactionTestCase
from django.test.utils import CaptureQueriesContext

from datasources.connections.testing.servers import require_program
from datasources.models import DataSource
from datasources.testing import DataSourceTestMixin
from datasources.tests.test_replica import databases
from rivergen.postgresql import replica
from rivergen.postgresql.acting_user import entrance, see_as
from rivergen.testing import replication
from rivergen.testing.pgbouncer import pgbouncer
from rivergen.testing.web_role import web_role


def ask(alias="default"):
    """Give the names of all data sources, and by which connection of the server it says so."""
    statement = "SELECT name, pg_backend_pid() FROM datasources_datasource ORDER BY name"
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall()
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    return [name for name, _ in rows], pid


class WalledMachinesTests(DataSourceTestMixin, TransactionTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        require_program("pgbouncer", "pgbouncer")
        cls.primary = cls.enterClassContext(replication.embedded_primary(fsync="off"))
        cls.server = cls.enterClassContext(replication.replica(cls.primary))
        cls.enterClassContext(databases(cls.primary.url(), cls.server.url()))
        cls.databases = {"default", replica.REPLICA}
        call_command("migrate", verbosity=0)
        cls.role = cls.enterClassContext(web_role())

    def setUp(self):
        self.make_world()
        workspace = self.globex.workspaces.get()
        self.theirs = DataSource.objects.create(workspace=workspace, name="Theirs", type="csv")
        token = entrance.set("")
        self.addCleanup(entrance.reset, token)

    def test_clients_of_a_pooler_see_nothing_of_each_other(self):
        pooled = self.enterContext(pgbouncer(self.primary.port, "postgres", 1, self.role.name))
        port = pooled.rpartition(":")[2].partition("/")[0]
        clients = [self.role.connect_to("default", PORT=port) for _ in range(3)]
        askers = (self.viewer, ["Production PostgreSQL"]), (self.stranger, ["Theirs"]), (None, [])
        pids = set()
        for number in range(9):
            client = clients[number * 2 % 3]
            self.addCleanup(client.close)
            user, expected = askers[number // 2 % 3]
            if user is None:
                entrance.set("")
            else:
                see_as(user.pk)
            with self.subTest(number), self.role.connected(client):
                names, pid = ask()
                self.assertEqual(names, expected)
                with transaction.atomic():
                    self.assertEqual(ask(), (expected, pid))
                    transaction.set_rollback(number % 2 == 0)
                pids.add(pid)
        self.assertEqual(len(pids), 1)

    def test_a_replica_keeps_organizations_apart_too(self):
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_current_wal_lsn()")
            [end] = cursor.fetchone()
        with connections[replica.REPLICA].cursor() as cursor:
            while True:
                cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [end])
                if cursor.fetchone()[0]:
                    break
        follower = self.role.connect_to(replica.REPLICA)
        self.addCleanup(follower.close)
        with self.role.connected(follower):
            self.assertEqual(ask(replica.REPLICA)[0], [])
            see_as(self.stranger.pk)
            self.assertEqual(ask(replica.REPLICA)[0], ["Theirs"])
        with self.role.answering(follower):
            for user, name in (
                (self.viewer, "Production PostgreSQL"),
                (self.stranger, "Theirs"),
            ):
                with CaptureQueriesContext(follower) as of_replica:
                    response = self.call("get", "/data-sources", user=user)
                self.assertEqual([one["name"] for one in response.json()["data"]], [name])
                self.assertEqual(len(of_replica), 1)
