"""What comes over a raw socket: nonsense, halves of requests, and clients that take their time."""

import json
import re
import socket
from typing import Any

from django.test import SimpleTestCase, TransactionTestCase

from datasources.models import DataSource
from datasources.testing import DataSourceTestMixin
from organizations.testing import bearer
from rivergen.testing.web import PATIENCE_SECONDS, Web, read_response, serving

HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST
CLOSE = b"Connection: close\r\n"
TOKEN = b"POST /api/v1/auth/token HTTP/1.1\r\nContent-Type: application/json\r\n" + HOST
CHUNKED = TOKEN + b"Transfer-Encoding: chunked\r\n\r\n"
MEBIBYTE = 1024 * 1024
EXTENDED = b'2;name;other="a \\" b"\r\n{}\r\n0\r\n\r\n'
# What is sent, and the status of the answer; None: the connection is closed without one.
REFUSED: dict[str, tuple[bytes, int | None]] = {
    "nothing but lines": (b"\r\n\r\n\r\n\r\n", 400),
    "no request line": (b"hello\r\n\r\n", 400),
    "no method": (b" / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a method that is none": (b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a method in small letters": (b"get /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two spaces": (b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a tab for a space": (b"GET\t/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "NUL in the target": (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "HTTP/0.9": (b"GET /healthz\r\n", 400),
    "HTTP/0.9, said": (b"GET /healthz HTTP/0.9\r\n" + HOST + b"\r\n", 400),
    "HTTP/2, said": (b"GET /healthz HTTP/2\r\n" + HOST + b"\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 400),
    "TLS": (b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03" + bytes(range(233)), 400),
    "TLS without a line in it": (b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03", None),
    "SSH": (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
    "lines without CR": (b"GET /healthz HTTP/1.1\nHost: 127.0.0.1\n\n", 400),
    "a header without CR": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\nA: b\r\n\r\n", 400),
    "a long line": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a long line without end": (b"GET /" + b"a" * 9_000, 400),
    "a long header": (GET + b"A: " + b"a" * 9_000 + b"\r\n\r\n", 400),
    "a long name of a header": (GET + b"A" * 9_000 + b": a\r\n\r\n", 400),
    "many headers": (GET + b"A: b\r\n" * 200 + b"\r\n", 400),
    "headers without end": (GET + b"A: b\r\n" * 200_000, 400),
    "a folded header": (GET + b"A: b\r\n c\r\n\r\n", 400),
    "a header that starts with space": (b"GET / HTTP/1.1\r\n A: b\r\n" + HOST + b"\r\n", 400),
    "space before a colon": (GET + b"A : b\r\n\r\n", 400),
    "no colon": (GET + b"A\r\n\r\n", 400),
    "no name of a header": (GET + b": b\r\n\r\n", 400),
    "NUL in a header": (GET + b"A: b\0c\r\n\r\n", 400),
    "NUL in a name": (GET + b"A\0: b\r\n\r\n", 400),
    "CR in a header": (GET + b"A: b\rc\r\n\r\n", 400),
    "a letter beyond ASCII in a name": (GET + b"\xc3\xa9: b\r\n\r\n", 400),
    "two hosts": (GET + HOST + b"\r\n", 400),
    "two other hosts": (GET + b"Host: evil.example\r\n\r\n", 400),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "another host": (b"GET /api/v1/me HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400),
    "two lengths": (TOKEN + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", 400),
    "the same length twice": (TOKEN + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "a list of lengths": (TOKEN + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    "a length below zero": (TOKEN + b"Content-Length: -1\r\n\r\n{}", 400),
    "a length with a sign": (TOKEN + b"Content-Length: +2\r\n\r\n{}", 400),
    "a length in other digits": (TOKEN + "Content-Length: ٢\r\n\r\n{}".encode(), 400),
    "a raised digit for a length": (TOKEN + b"Content-Length: \xb2\r\n\r\n{}", 400),
    "a length that is none": (TOKEN + b"Content-Length: two\r\n\r\n{}", 400),
    "an empty length": (TOKEN + b"Content-Length:\r\n\r\n{}", 400),
    "a large length": (TOKEN + b"Content-Length: %d\r\n\r\n{}" % (MEBIBYTE + 1), 413),
    "a length beyond 64 bits": (TOKEN + b"Content-Length: 99999999999999999999\r\n\r\n{}", 413),
    "a length of 5,000 digits": (TOKEN + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n{}", 400),
    "a length, and chunks": (TOKEN + b"Content-Length: 2\r\n" + CHUNKED[len(TOKEN) :] + b"{}", 400),
    "chunks, twice": (
        TOKEN + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks, not at last": (TOKEN + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "an unknown coding": (TOKEN + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "no coding": (TOKEN + b"Transfer-Encoding: identity\r\n\r\n{}", 400),
    "chunks in HTTP/1.0": (
        CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"2\r\n{}\r\n0\r\n\r\n",
        400,
    ),
    "a size that is none": (CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n", 400),
    "no size": (CHUNKED + b"\r\n{}\r\n0\r\n\r\n", 400),
    "a size below zero": (CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n", 400),
    "a size with a prefix": (CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n", 400),
    "a size too small": (CHUNKED + b"1\r\n{}\r\n0\r\n\r\n", 400),
    "a bad extension": (CHUNKED + b"2;\x01\r\n{}\r\n0\r\n\r\n", 400),
    "a long extension": (CHUNKED + b"2;" + b"a" * 9_000 + b"\r\n{}\r\n0\r\n\r\n", 400),
    "a bad trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nA\r\n\r\n", 400),
    "a length for a trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n", 400),
    "chunks over the limit": (CHUNKED + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 17, 413),
    "one chunk over the limit": (CHUNKED + b"ffffffff\r\n" + b" " * (MEBIBYTE + 1), 413),
    "small chunks over the limit": (CHUNKED + b"1\r\n \r\n" * 400_000, 413),
    "gzip": (TOKEN + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\b\0", 415),
    "a part of a body": (TOKEN + b"Content-Length: 30\r\n\r\n{", 400),
    "a part of a chunk": (CHUNKED + b"5\r\n{", None),
    "a part of a line": (b"GET /healthz HT", None),
    "a part of a head": (GET, None),
    "nothing": (b"", None),
}
# Unusual, and taken by HTTP: what is sent, and the status of each answer.
TAKEN: dict[str, tuple[bytes, list[int]]] = {
    "a line before it": (b"\r\n" + GET + CLOSE + b"\r\n", [200]),
    "HTTP/1.0": (b"GET /healthz HTTP/1.0\r\n\r\n", [200]),
    "HTTP/1.2": (b"GET /healthz HTTP/1.2\r\n" + HOST + CLOSE + b"\r\n", [200]),
    "the whole address": (GET.replace(b"/h", b"http://127.0.0.1/h") + CLOSE + b"\r\n", [200]),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", [404]),
    "an unknown method": (GET.replace(b"GET", b"BREW") + CLOSE + b"\r\n", [403]),
    "CONNECT": (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n" + HOST + CLOSE + b"\r\n", [404]),
    "one after the other": (GET + b"\r\n" + GET + b"\r\n" + GET + CLOSE + b"\r\n", [200] * 3),
    "with bodies": (TOKEN + b"Content-Length: 2\r\n\r\n{}" + CHUNKED + EXTENDED, [400] * 2),
    "a body of no use": (GET + b"Content-Length: 6\r\n\r\nGET / " + GET + b"\r\n", [200] * 2),
    "a large body of no use": (
        GET + b"Content-Length: 99999\r\n\r\n" + b" " * 99_999 + GET + b"\r\n",
        [200] * 2,
    ),
    "extensions": (CHUNKED + EXTENDED, [400]),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\nA: b\r\n\r\n" + GET + b"\r\n", [400, 200]),
    "an answer not waited for": (
        TOKEN + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        [400],
    ),
    "too large to go on": (
        TOKEN + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % (MEBIBYTE + 1),
        [413],
    ),
    "an upgrade": (
        GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n",
        [200],
    ),
}  # fmt: skip
# Half of something, from clients that then say nothing.
SLOW = (
    b"",
    b"GET /healthz HT",
    GET,
    TOKEN + b"Content-Length: 30\r\n\r\n{",
    CHUNKED + b"5\r\n{",
    TOKEN + b"Expect: 100-continue\r\nContent-Length: 30\r\n\r\n",
    TOKEN + b"Content-Length: 5000000\r\n\r\n{",  # answered, and then not closed
    GET + CLOSE + b"\r\n",  # likewise
)
THREADS = 8


class SocketTests(DataSourceTestMixin, TransactionTestCase):
    """All tests share one server, of one process."""

    web: Web

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.web = cls.enterClassContext(serving(WEB_CONCURRENCY="1"))

    def assert_failure(self, response: Any, body: bytes) -> None:
        """Check the envelope; pages elsewhere than below /api/ have Django's own."""
        if response.headers["Content-Type"] == "application/json":
            error = json.loads(body)["error"]
            self.assertEqual(error["request_id"], response.headers["X-Request-ID"])

    def test_refuses_what_is_no_request_and_goes_on(self):
        for name, (sent, status) in REFUSED.items():
            with self.subTest(name), self.web.connect() as peer:
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
                if status is not None:
                    response, body = read_response(peer)
                    self.assertEqual(response.status, status)
                    self.assertEqual(response.headers["Content-Type"], "application/json")
                    self.assert_failure(response, body)
                self.assertEqual(peer.recv(1), b"")
                self.assertEqual(self.web.get().status, 200)

    def test_does_not_wait_for_the_end_of_what_it_will_refuse(self):
        parts = {"a part of a body", "a part of a line", "a part of a head", "a part of a chunk"}
        for name in REFUSED.keys() - parts - {"nothing"}:
            with self.subTest(name), self.web.connect() as peer:
                peer.sendall(REFUSED[name][0])
                peer.recv(1)

    def test_takes_what_is_unusual(self):
        for name, (sent, statuses) in TAKEN.items():
            with self.subTest(name), self.web.connect() as peer:
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
                with peer.makefile("rb") as answers:
                    found = re.findall(rb"HTTP/1\.\d (\d{3}) ", answers.read())
                # No answer to what was never sent: no request is found in the body of another.
                self.assertEqual([*map(int, found)], statuses)
                self.assertEqual(self.web.get().status, 200)

    def test_says_go_on_to_whoever_asks(self):
        with self.web.connect() as peer:
            peer.sendall(TOKEN + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            self.assertEqual(peer.recv(100), b"HTTP/1.1 100 Continue\r\n\r\n")
            peer.sendall(b"{}")
            response, _ = read_response(peer)
            self.assertEqual(response.status, 400)

    def test_stores_nothing_of_half_a_body(self):
        self.make_world()
        head = (
            f"PATCH /api/v1{self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: {bearer(self.editor)}\r\nContent-Type: application/json\r\n"
        ).encode()
        before = DataSource.objects.values().get()
        for sent in (
            b'Content-Length: 30\r\n\r\n{"port": 1}',
            b'Transfer-Encoding: chunked\r\n\r\nb\r\n{"port": 1}\r\n',
            b'Transfer-Encoding: chunked\r\n\r\nb\r\n{"port": 1}\r\n0\r\n',
            b'Transfer-Encoding: chunked\r\n\r\nb\r\n{"port": 1}',
        ):
            with self.subTest(sent=sent), self.web.connect() as peer:
                peer.sendall(head + sent)
                peer.shutdown(socket.SHUT_WR)
                self.assertNotIn(b"HTTP/1.1 200", peer.recv(65_536))
                self.assertEqual(DataSource.objects.values().get(), before)

    def test_reads_a_body_in_pieces(self):
        self.make_world()
        head = (
            f"PATCH /api/v1{self.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: {bearer(self.editor)}\r\nContent-Type: application/json\r\n"
        ).encode()
        for letter, framing in (
            ("é", "Content-Length: {0}\r\n\r\n{1}"),
            ("e", "Transfer-Encoding: chunked\r\n\r\n{0:x}\r\n{1}\r\n0\r\n\r\n"),
        ):
            description = letter * 10_000
            body = json.dumps({"description": description}, ensure_ascii=False)
            sent = head + framing.format(len(body.encode()), body).encode()
            with self.web.connect() as peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for start in range(0, len(sent), 997):
                    peer.sendall(sent[start : start + 997])
                response, _ = read_response(peer)
                self.assertEqual(response.status, 200)
            self.assertEqual(DataSource.objects.get().description, description)

    def test_slow_clients_take_no_thread(self):
        peers = []
        for start in SLOW * 2 * THREADS:
            peer = self.enterContext(self.web.connect())
            peer.sendall(start)
            peers.append(peer)
        for _ in range(2 * THREADS):
            self.assertEqual(self.web.get("/readyz").status, 200)


class StoppingTests(SimpleTestCase):
    def test_answers_what_was_sent_before_it_was_told_to_stop(self):
        with serving(WEB_CONCURRENCY="1") as web:
            silent = self.enterContext(web.connect())
            peers = [self.enterContext(web.connect()) for _ in range(60)]
            for peer in peers:
                peer.sendall(GET + b"\r\n")
            web.process.terminate()
            for peer in peers:
                response, _ = read_response(peer)
                self.assertEqual(response.status, 200)
            # It does not wait for those who have said nothing.
            self.assertEqual(silent.recv(1), b"")
            self.assertEqual(web.process.wait(PATIENCE_SECONDS), 0)


class ImpatientSocketTests(SimpleTestCase):
    """What becomes of those who take too long, or too much room."""

    web: Web

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        config = "rivergen.testing.impatient"
        cls.web = cls.enterClassContext(serving(config, WEB_CONCURRENCY="1"))

    def test_ends_a_request_that_does_not_come(self):
        for start in SLOW[1:5]:
            with self.subTest(start=start), self.web.connect() as peer:
                peer.sendall(start)
                response, body = read_response(peer)
                self.assertEqual(response.status, 408)
                error = json.loads(body)["error"]
                self.assertEqual(error["code"], "REQUEST_TIMEOUT")
                self.assertEqual(error["request_id"], response.headers["X-Request-ID"])
                self.assertEqual(peer.recv(1), b"")

    def test_closes_a_connection_on_which_nothing_comes(self):
        with self.web.connect() as peer:
            self.assertEqual(peer.recv(1), b"")

    def test_refuses_what_it_has_no_room_for(self):
        with self.web.connect() as peer:
            peer.sendall(TOKEN + b"Content-Length: 1000000\r\n\r\n" + b" " * 200_000)
            response, body = read_response(peer)
            self.assertEqual(response.status, 503)
            self.assertEqual(json.loads(body)["error"]["code"], "SERVICE_UNAVAILABLE")
            self.assertGreater(int(response.headers["Retry-After"]), 0)
        self.assertEqual(self.web.get().status, 200)

    def test_leaves_a_client_that_does_not_take_its_answer(self):
        large = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
        for _ in range(2 * THREADS):
            peer = self.enterContext(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(("127.0.0.1", self.web.port))
            # The system takes the first ones off the thread's hands.
            peer.sendall((b"GET " + large + b" HTTP/1.1\r\n" + HOST + b"\r\n") * 5)
        self.assertEqual(self.web.get().status, 200)
