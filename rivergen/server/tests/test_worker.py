"""Tests of the threads of a web process: probes have their own."""

import re
import socket

from django.test import TransactionTestCase

from datasources.testing import DataSourceTestMixin
from organizations.testing import bearer
from rivergen.server.worker import PROBES, probe
from rivergen.testing.raw_requests import HOST
from rivergen.testing.web import Web, serving

THREADS = 8
IN_PROGRESS = re.compile(r"^rivergen_http_requests_in_progress (\d+)", re.MULTILINE)
READ_AT_ONCE = 8_192  # by gunicorn
END = b"\r\n\r\n"


class WorkerTests(DataSourceTestMixin, TransactionTestCase):
    web: Web

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.web = cls.enterClassContext(serving(WEB_CONCURRENCY="1"))

    def in_progress(self) -> int:
        """Return how many requests are being answered, besides the one that asks."""
        match = IN_PROGRESS.search(self.web.get("/metrics").text)  # type: ignore[attr-defined]
        assert match is not None
        return int(match[1]) - 1

    def occupy_all_threads(self) -> None:
        """Send the start of as many requests as there are threads, and wait until all are taken."""
        start = (
            f"PATCH /api/v1{self.path} HTTP/1.1\r\n{HOST.decode()}"
            f"Authorization: {bearer(self.editor)}\r\nContent-Type: application/json\r\n"
            "Content-Length: 30\r\n\r\n{"
        ).encode()
        for _ in range(THREADS):
            self.enterContext(self.web.connect()).sendall(start)
        while self.in_progress() < THREADS:
            pass

    def test_probes_are_answered_while_all_request_threads_are_taken(self):
        self.make_world()
        self.occupy_all_threads()
        for path in PROBES:
            with self.subTest(path):
                self.assertEqual(self.web.get(path).status, 200)

    def test_half_sent_probes_do_not_block_probes(self):
        for sent in (
            b"GET /healthz HTTP/1.1\r\n",
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 5" + END,
        ):
            self.enterContext(self.web.connect()).sendall(sent)
        self.assertEqual(self.web.get("/healthz").status, 200)

    def test_a_probe_behind_half_a_request_does_not_block_probes(self):
        """gunicorn has read the half with the request before it."""
        start = b"GET /readyz HTTP/1.1\r\n" + HOST + b"A: "
        half = b"POST /api/v1/auth/token HTTP/1.1\r\n" + HOST + b"Content-Length: 99999" + END
        padding = b"a" * (READ_AT_ONCE - len(start) - len(END) - len(half))
        whole = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
        client = self.enterContext(self.web.connect())
        client.sendall(start + padding + END + half + whole)
        client.recv(1)  # the answer to the first
        while not self.in_progress():
            pass
        self.assertEqual(self.web.get("/healthz").status, 200)

    def test_clients_that_do_not_read_do_not_block_probes(self):
        whole = b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n"
        client, server = socket.socketpair()
        with client, server:
            client.sendall(whole)
            self.assertEqual(probe(server), "/healthz")
            server.sendall(b"an answer")
            self.assertIsNone(probe(server))
            client.recv(100)
            self.assertEqual(probe(server), "/healthz")

    def test_only_whole_requests_without_a_body_count_as_probes(self):
        for sent, expected in (
            (b"GET /healthz HTTP/1.1" + END, "/healthz"),
            (b"HEAD /healthz HTTP/1.1" + END, "/healthz"),
            (b"GET /metrics HTTP/1.1\r\nHost: a" + END, "/metrics"),
            (b"", None),
            (b"GET /healthz", None),
            (b"GET /healthz HTTP/1.1\r\nHost: a\r\n", None),
            (b"GET /healthz HTTP/1.1\r\ncontent-LENGTH: 5" + END, None),
            (b"GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked" + END, None),
            (b"GET /healthz HTTP/1.1" + END + b"GET / HTTP/1.1\r\n", None),
            (b"POST /healthz HTTP/1.1" + END, None),
            (b"GET /healthz2 HTTP/1.1" + END, None),
            (b"GET /" + END, None),
        ):
            with self.subTest(sent):
                client, server = socket.socketpair()
                with client, server:
                    client.sendall(sent)
                    self.assertEqual(probe(server), expected)
