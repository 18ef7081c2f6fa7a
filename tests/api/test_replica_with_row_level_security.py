"""Row-level security behind PgBouncer, where clients share a connection, and on a replica."""

from django.core.management import call_command
from django.db import connections, transaction
from django.test import TransactionTestCase
from django.test.utils import CaptureQueriesContext

from datasources.connections.testing.servers import require_program
from datasources.models import DataSource
from datasources.testing import DataSourceTestMixin
from rivergen.postgresql import replica
from rivergen.postgresql.acting_user import act_as_member, acting_user
from rivergen.testing import replication
from rivergen.testing.databases import connected_to
from rivergen.testing.pgbouncer import pgbouncer
from rivergen.testing.web_role import web_role


def read_names(alias="default"):
    """Return the names of all visible data sources, and the PID of the server's backend."""
    statement = "SELECT name, pg_backend_pid() FROM datasources_datasource ORDER BY name"
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        rows = cursor.fetchall()
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    return [name for name, _ in rows], pid


class PoolerAndReplicaTests(DataSourceTestMixin, TransactionTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        require_program("pgbouncer", "pgbouncer")
        cls.primary = cls.enterClassContext(replication.embedded_primary(fsync="off"))
        cls.server = cls.enterClassContext(replication.replica(cls.primary))
        cls.enterClassContext(connected_to(cls.primary.url(), cls.server.url()))
        cls.databases = {"default", replica.REPLICA}
        call_command("migrate", verbosity=0)
        cls.role = cls.enterClassContext(web_role())

    def setUp(self):
        self.make_world()
        workspace = self.globex.workspaces.get()
        self.theirs = DataSource.objects.create(workspace=workspace, name="Theirs", type="csv")
        token = acting_user.set("")
        self.addCleanup(acting_user.reset, token)

    def test_clients_that_share_a_pooled_connection_see_their_own_rows_only(self):
        pooled = self.enterContext(pgbouncer(self.primary.port, "postgres", 1, self.role.name))
        port = pooled.rpartition(":")[2].partition("/")[0]
        clients = [self.role.connect_to("default", PORT=port) for _ in range(3)]
        users = (self.viewer, ["Production PostgreSQL"]), (self.stranger, ["Theirs"]), (None, [])
        pids = set()
        for number in range(9):
            client = clients[number * 2 % 3]
            self.addCleanup(client.close)
            user, expected = users[number // 2 % 3]
            if user is None:
                acting_user.set("")
            else:
                act_as_member(user.pk)
            with self.subTest(number), self.role.connected(client):
                names, pid = read_names()
                self.assertEqual(names, expected)
                with transaction.atomic():
                    self.assertEqual(read_names(), (expected, pid))
                    transaction.set_rollback(number % 2 == 0)
                pids.add(pid)
        self.assertEqual(len(pids), 1)

    def test_batches_of_many_updates_pass_a_pooler(self):
        made = DataSource.objects.bulk_create(
            DataSource(workspace=self.workspace, name=f"S{number}", type="csv")
            for number in range(50)
        )
        pooled = self.enterContext(pgbouncer(self.primary.port, "postgres", 1, self.role.name))
        port = pooled.rpartition(":")[2].partition("/")[0]
        client = self.role.connect_to("default", PORT=port)
        self.addCleanup(client.close)
        updates = [{"id": one.pk, "name": f"New {one.pk}"} for one in made]
        taken = [*updates[:-1], {"id": made[-1].pk, "name": self.data_source.name}]
        with self.role.handling_requests(client):
            for body, query, status, stored in (
                (taken, "", 409, 0),
                (taken, "?atomic=false", 200, 49),
                (updates, "", 200, 50),
            ):
                path = f"/data-sources{query}"
                response = self.call("patch", path, {"updates": body}, self.editor)
                self.assertEqual(response.status_code, status, response.content)
                named = DataSource.objects.filter(name__startswith="New ")
                self.assertEqual(len(named), stored)

    def test_replica_shows_rows_of_own_organizations_only(self):
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
            self.assertEqual(read_names(replica.REPLICA)[0], [])
            act_as_member(self.stranger.pk)
            self.assertEqual(read_names(replica.REPLICA)[0], ["Theirs"])
        with self.role.handling_requests(follower):
            for user, name in (
                (self.viewer, "Production PostgreSQL"),
                (self.stranger, "Theirs"),
            ):
                with CaptureQueriesContext(follower) as of_replica:
                    response = self.call("get", "/data-sources", user=user)
                self.assertEqual([one["name"] for one in response.json()["data"]], [name])
                self.assertEqual(len(of_replica), 1)
