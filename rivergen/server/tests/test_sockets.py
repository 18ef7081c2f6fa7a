"""Tests of gunicorn without a proxy: invalid, unusual and half-sent requests."""

import json
import re
import socket

from django.test import TransactionTestCase

from datasources.models import DataSource
from datasources.testing import DataSourceTestMixin
from organizations.testing import bearer
from rivergen.testing.raw_requests import GET, REFUSED, TAKEN, TOKEN
from rivergen.testing.web import PATIENCE_SECONDS, Web, read_response, serving


class SocketTests(DataSourceTestMixin, TransactionTestCase):
    """Requests sent over raw sockets. All tests share one web process."""

    web: Web

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.web = cls.enterClassContext(serving(WEB_CONCURRENCY="1"))

    def patch_head(self) -> bytes:
        """Return the start of a PATCH by the editor, without the header of its length."""
        return (
            f"PATCH /api/v1{self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: {bearer(self.editor)}\r\nContent-Type: application/json\r\n"
        ).encode()

    def test_invalid_requests_are_refused_and_the_server_keeps_serving(self):
        for name, (sent, status) in REFUSED.items():
            with self.subTest(name), self.web.connect() as peer:
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
                if status is not None:
                    response, body = read_response(peer)
                    self.assertEqual(response.status, status)
                    if response.headers["Content-Type"] == "application/json":
                        request_id = json.loads(body)["error"]["request_id"]
                        self.assertEqual(request_id, response.headers["X-Request-ID"])
                self.assertEqual(peer.recv(1), b"")
                self.assertEqual(self.web.get().status, 200)

    def test_valid_but_rare_kinds_of_requests_are_answered(self):
        for name, (sent, statuses) in TAKEN.items():
            with self.subTest(name), self.web.connect() as peer:
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
                with peer.makefile("rb") as answers:
                    found = re.findall(rb"HTTP/1\.\d (\d{3}) ", answers.read())
                # No further response follows: no body was taken for a request.
                self.assertEqual([*map(int, found)], statuses)
                self.assertEqual(self.web.get().status, 200)

    def test_expect_header_is_answered_with_100_continue(self):
        with self.web.connect() as peer:
            peer.sendall(TOKEN + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            self.assertEqual(peer.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            peer.sendall(b"{}")
            response, _ = read_response(peer)
            self.assertEqual(response.status, 400)

    def test_half_sent_body_changes_nothing(self):
        self.make_world()
        before = DataSource.objects.values().get()
        for sent in (
            b'Content-Length: 30\r\n\r\n{"port": 1}',
            b'Transfer-Encoding: chunked\r\n\r\nb\r\n{"port": 1}\r\n',
            b'Transfer-Encoding: chunked\r\n\r\nb\r\n{"port": 1}\r\n0\r\n',
            b'Transfer-Encoding: chunked\r\n\r\nb\r\n{"port": 1}',
        ):
            with self.subTest(sent=sent), self.web.connect() as peer:
                peer.sendall(self.patch_head() + sent)
                peer.shutdown(socket.SHUT_WR)
                self.assertNotIn(b"HTTP/1.1 200", peer.recv(65_536))
                self.assertEqual(DataSource.objects.values().get(), before)

    def test_refusal_says_whether_the_connection_stays_open(self):
        self.make_world()
        head = self.patch_head()
        anonymous = re.sub(rb"Authorization: .*\r\n", b"", head)
        for sent, length, status in (
            (head, 1024 * 1024 + 1, 413),
            (anonymous, 100_000, 401),
            (head.replace(b"127.0.0.1", b"nowhere"), 100_000, 400),
            (anonymous, 10_000, 401),
            (head, 10_000, 400),
        ):
            with self.subTest(status=status, length=length), self.web.connect() as peer:
                peer.sendall(sent + b"Content-Length: %d\r\n\r\n" % length + b"x" * length)
                response, _ = read_response(peer)
                self.assertEqual(response.status, status)
                if response.headers["Connection"] == "close":
                    self.assertGreater(length, 10_000)
                    continue
                peer.sendall(GET + b"\r\n")
                response, _ = read_response(peer)
                self.assertEqual(response.status, 200)

    def test_body_in_pieces_is_read_whole(self):
        self.make_world()
        for letter, framing in (
            ("é", "Content-Length: {0}\r\n\r\n{1}"),
            ("e", "Transfer-Encoding: chunked\r\n\r\n{0:x}\r\n{1}\r\n0\r\n\r\n"),
        ):
            description = letter * 10_000
            body = json.dumps({"description": description}, ensure_ascii=False)
            sent = self.patch_head() + framing.format(len(body.encode()), body).encode()
            with self.web.connect() as peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for start in range(0, len(sent), 997):
                    peer.sendall(sent[start : start + 997])
                response, _ = read_response(peer)
                self.assertEqual(response.status, 200)
            self.assertEqual(DataSource.objects.get().description, description)


class StoppingTests(TransactionTestCase):
    def test_requests_sent_before_sigterm_are_answered(self):
        with serving(WEB_CONCURRENCY="1") as web:
            peers = [self.enterContext(web.connect()) for _ in range(60)]
            for peer in peers:
                # Reuse connections, as the proxy does: gunicorn resets those not accepted yet.
                peer.sendall(GET + b"\r\n")
                read_response(peer)
            for peer in peers:
                peer.sendall(GET + b"\r\n")
            web.process.terminate()
            for peer in peers:
                response, _ = read_response(peer)
                self.assertEqual(response.status, 200)
                peer.close()
            self.assertEqual(web.process.wait(PATIENCE_SECONDS), 0)
