"""Tests of the web server behind HAProxy, with the configuration in deploy/haproxy.cfg."""

import json
import re
import resource
import socket
import unittest
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from django.test import SimpleTestCase, TransactionTestCase

from datasources.testing import DataSourceTestMixin
from organizations.testing import bearer
from rivergen.testing.haproxy import IS_MISSING, haproxy
from rivergen.testing.raw_requests import CHUNKED, CLOSE, GET, HOST, MEBIBYTE, REFUSED, TAKEN, TOKEN
from rivergen.testing.services import free_port
from rivergen.testing.web import PATIENCE_SECONDS, Web, read_response, serving

# HAProxy repairs these requests, as RFC 9112 allows, and forwards them.
REPAIRED = {
    "a folded header",
    "a header without CR",
    "a tab for a space",
    "lines without CR",
    "two hosts",
    "two spaces",
}
PARTS_OF_HEADERS = (b"GET /healthz HT", GET)
PARTS_OF_BODIES = (
    TOKEN + b"Content-Length: 30\r\n\r\n{",
    CHUNKED + b"5\r\n{",
    TOKEN + b"Expect: 100-continue\r\nContent-Length: 30\r\n\r\n",
)
CONNECTIONS_PER_ADDRESS = 200
HALF_SENT = 3_000
SIGN_INS, SIGN_INS_EACH = 30, 3
LARGE_FILE = b"/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
OTHER_ADDRESS = ("127.0.0.2", 0)
TLS_PROXY = ("127.0.0.3", 0)
APP, OTHER_APP = "https://app.example.com", "http://localhost:3000"
BEHIND_PROXY = {
    "CORS_ALLOWED_ORIGINS": f"{APP}, {OTHER_APP}",
    "FORWARDED_ALLOW_IPS": "*",
    "METRICS_ALLOW": OTHER_ADDRESS[0],
    "NUM_PROXIES": "1",
    "WEB_CONCURRENCY": "1",
}


class ProxyTestCase(DataSourceTestMixin, TransactionTestCase):
    """All tests of a class share one web process and one HAProxy."""

    timeout = "30s"
    port: int
    log: Path
    web: Web

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.web = cls.enterClassContext(serving(**BEHIND_PROXY))
        origins = BEHIND_PROXY["CORS_ALLOWED_ORIGINS"]
        proxy = haproxy(cls.web.port, cls.timeout, TLS_PROXY[0], origins)
        cls.port, cls.log = cls.enterClassContext(proxy)

    def connect(self) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
        return self.enterContext(peer)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        address: tuple[str, int] = OTHER_ADDRESS,
        **headers: str,
    ) -> HTTPResponse:
        """Send a request, by default from another address than that of `connect()`."""
        client = HTTPConnection("127.0.0.1", self.port, PATIENCE_SECONDS, address)
        self.addCleanup(client.close)
        client.request(method, path, body, headers)
        response = client.getresponse()
        response.text = response.read().decode()  # type: ignore[attr-defined]
        return response

    def assert_envelope(self, response: HTTPResponse, body: bytes | str, code: str) -> None:
        error = json.loads(body)["error"]
        self.assertEqual({*error}, {"code", "message", "details", "request_id"})
        self.assertEqual(error["code"], code)
        self.assertEqual(error["request_id"], response.headers["X-Request-ID"])
        self.assertEqual(response.headers["Content-Type"], "application/json")


@unittest.skipIf(IS_MISSING, "Needs haproxy.")
class ProxyTests(ProxyTestCase):
    def assert_patch_and_health_are_answered(self) -> None:
        headers: dict[str, Any] = {
            "Authorization": bearer(self.editor),
            "Content-Type": "application/json",
        }
        for number in range(20):
            body = json.dumps({"description": f"Description {number}"})
            changed = self.request("PATCH", f"/api/v1{self.path}", body, **headers)
            self.assertEqual(changed.status, 200)
            self.assertEqual(self.request("GET", "/healthz").status, 200)

    def test_half_sent_requests_of_one_address_do_not_block_other_clients(self):
        self.make_world()
        allowed = raise_open_files_limit() - 500
        parts = PARTS_OF_HEADERS + PARTS_OF_BODIES
        refused = 0
        for number in range(min(HALF_SENT, allowed)):
            try:
                peer = self.connect()
                peer.sendall(parts[number % len(parts)])
                peer.setblocking(False)
                refused += peer.recv(1) == b""
            except BlockingIOError:
                pass
            except ConnectionError:
                refused += 1
        self.assertGreater(refused, 0)
        self.assert_patch_and_health_are_answered()

    def test_many_sign_ins_at_once_do_not_block_other_clients(self):
        self.make_world()
        statuses = set()

        def sign_in(number: int) -> None:
            body = json.dumps({"username": f"nobody {number}", "password": "a guess"})
            address, json_type = (f"127.0.1.{number % 3}", 0), {"Content-Type": "application/json"}
            for _ in range(SIGN_INS_EACH):
                path = "/api/v1/auth/token"
                statuses.add(self.request("POST", path, body, address, **json_type).status)

        with ThreadPoolExecutor(SIGN_INS) as pool:
            done = pool.map(sign_in, range(SIGN_INS))
            self.assert_patch_and_health_are_answered()
            list(done)
        self.assertLessEqual(statuses, {401, 429})

    def test_half_sent_requests_within_the_limit_occupy_no_thread(self):
        self.make_world()
        parts = PARTS_OF_HEADERS + PARTS_OF_BODIES
        for number in range(CONNECTIONS_PER_ADDRESS - 20):
            self.connect().sendall(parts[number % len(parts)])
        self.assert_patch_and_health_are_answered()

    def test_clients_that_do_not_read_the_response_occupy_no_thread(self):
        self.make_world()
        for _ in range(32):
            peer = self.enterContext(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect(("127.0.0.1", self.port))
            peer.sendall((b"GET " + LARGE_FILE + b" HTTP/1.1\r\n" + HOST + b"\r\n") * 5)
        self.assert_patch_and_health_are_answered()

    def test_body_of_1_mib_in_pieces_is_accepted(self):
        with self.connect() as peer:
            peer.sendall(TOKEN + b"Content-Length: %d\r\n\r\n" % MEBIBYTE)
            for _ in range(16):
                peer.sendall(b" " * (MEBIBYTE // 16))
            response, body = read_response(peer)
            self.assertEqual(response.status, 400)
            self.assertIn("The body is empty", json.loads(body)["error"]["message"])

    def test_bodies_above_the_limit_are_refused_early(self):
        large = b"Content-Length: %d\r\n\r\n" % (MEBIBYTE + 1)
        for name, sent in {
            "by its length": TOKEN + large,
            "with Expect": TOKEN + b"Expect: 100-continue\r\n" + large,
            "in chunks": CHUNKED + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 17,
            "in small chunks": CHUNKED + b"1\r\n \r\n" * (MEBIBYTE + 1),
            "in one chunk": CHUNKED + b"ffffffff\r\n" + b" " * (MEBIBYTE + 1),
        }.items():
            with self.subTest(name), self.connect() as peer:
                peer.sendall(sent)
                response, body = read_response(peer)
                self.assertEqual(response.status, 413)
                self.assert_envelope(response, body, "PAYLOAD_TOO_LARGE")
                self.assertEqual(response.headers["Cache-Control"], "no-store")

    def test_too_long_header_lines_are_refused_in_the_envelope(self):
        long = "a" * 9_000
        for path, headers in ((f"/api/v1/me?a={long}", {}), ("/api/v1/me", {"A": long})):
            response = self.request("GET", path, **headers)
            self.assertEqual(response.status, 400)
            self.assert_envelope(response, response.text, "BAD_REQUEST")

    def test_invalid_requests_are_refused_and_the_server_keeps_serving(self):
        for name in REFUSED.keys() - REPAIRED:
            with self.subTest(name), self.connect() as peer:
                statuses = self.exchange(peer, REFUSED[name][0])
                self.assertLessEqual(len(statuses), 1)
                self.assertLessEqual({*statuses}, {400, 413, 415})
        self.assertEqual(self.request("GET", "/readyz").status, 200)

    def test_proxy_repairs_some_invalid_requests(self):
        for name in REPAIRED:
            with self.subTest(name), self.connect() as peer:
                self.assertEqual(self.exchange(peer, REFUSED[name][0]), [200])

    def test_valid_but_rare_kinds_of_requests_pass_the_proxy(self):
        for name, (sent, statuses) in TAKEN.items():
            if name == "CONNECT":  # HAProxy requires the target of CONNECT in the Host header, too
                continue
            with self.subTest(name), self.connect() as peer:
                self.assertEqual(self.exchange(peer, sent, len(statuses)), statuses)

    def exchange(self, peer: socket.socket, sent: bytes, answers: int = 0) -> list[int]:
        """Send bytes, wait for a number of answers, send no more; return the status of each."""
        received = b""
        try:
            peer.sendall(sent)
            while len(statuses_in(received)) < answers and (data := peer.recv(65_536)):
                received += data
            # HAProxy drops the requests it has not forwarded when a client sends no more.
            peer.shutdown(socket.SHUT_WR)
            while data := peer.recv(65_536):
                received += data
        except OSError:  # closed before everything was sent
            pass
        return statuses_in(received)

    def test_valid_request_id_is_kept(self):
        for sent, is_kept in (("mine-1", True), ("a b", False), ("a" * 129, False), ("", False)):
            response = self.request("GET", "/api/v1/me", **{"X-Request-ID": sent})
            self.assert_envelope(response, response.text, "UNAUTHORIZED")
            self.assertEqual(response.headers["X-Request-ID"] == sent, is_kept)

    def test_clients_cannot_forge_their_address(self):
        forged = {"X-Forwarded-For": OTHER_ADDRESS[0]}
        response = self.request("GET", "/metrics", address=("127.0.0.1", 0), **forged)
        self.assertEqual(response.status, 403)
        self.assertEqual(self.request("GET", "/metrics").status, 200)

    def test_only_the_tls_proxy_can_declare_a_request_as_https(self):
        for address, name, value, is_believed in (
            (OTHER_ADDRESS, "X-Forwarded-Proto", "https", False),
            (OTHER_ADDRESS, "X-Forwarded-Protocol", "ssl", False),
            (OTHER_ADDRESS, "X-Forwarded-Ssl", "on", False),
            (TLS_PROXY, "X-Forwarded-Proto", "https", True),
        ):
            with self.subTest(name=name, address=address):
                response = self.request("GET", "/healthz", address=address, **{name: value})
                self.assertEqual("Strict-Transport-Security" in response.headers, is_believed)

    def test_responses_are_forwarded_unchanged(self):
        self.make_world()
        headers = {"Authorization": bearer(self.editor), "Accept-Encoding": "gzip"}
        response = self.request("GET", f"/api/v1{self.path}", **headers)
        self.assertNotIn("Content-Encoding", response.headers)
        self.assertEqual(response.headers["ETag"], '"1"')

    def test_preflight_and_request_of_an_allowed_page_pass_the_proxy(self):
        self.make_world()
        path, token = f"/api/v1{self.path}", {"Authorization": bearer(self.editor)}
        for origin in (APP, OTHER_APP):
            asked = {
                "Access-Control-Request-Method": "PATCH",
                "Access-Control-Request-Headers": "authorization,content-type,if-match",
            }
            response = self.request("OPTIONS", path, Origin=origin, **asked)
            self.assertEqual(response.status, 200)
            self.assertEqual(response.headers.get_all("Access-Control-Allow-Origin"), [origin])
            self.assertIn("PATCH", response.headers["Access-Control-Allow-Methods"])
            self.assertIn("If-Match", response.headers["Access-Control-Allow-Headers"])
            self.assertTrue(response.headers["X-Request-ID"])
            response = self.request("GET", path, Origin=origin, **token)
            self.assertEqual(response.status, 200)
            self.assertEqual(response.headers.get_all("Access-Control-Allow-Origin"), [origin])
            self.assertIn("ETag", response.headers["Access-Control-Expose-Headers"])

    def test_failures_of_the_proxy_can_be_read_by_allowed_pages_alone(self):
        for origin, is_allowed in (
            (APP, True),
            (OTHER_APP, True),
            ("https://evil.test", False),
            (f"{APP}, {OTHER_APP}", False),
            (f"{APP}.evil.test", False),
            ("", False),
        ):
            with self.subTest(origin):
                large = self.refuse_large("/api/v1/data-sources/1", origin)
                refused = self.request("GET", "/api/v1/me", Origin=origin, A="a" * 9_000)
                self.assertEqual((large.status, refused.status), (413, 400))
                for response in (large, refused):
                    allowed = response.headers.get_all("Access-Control-Allow-Origin")
                    self.assertEqual(allowed, [origin] if is_allowed else None)
                    exposed = response.headers["Access-Control-Expose-Headers"] or ""
                    self.assertEqual("Retry-After" in exposed, is_allowed)
                    self.assertEqual(response.headers["Vary"], "Origin")
        outside = self.refuse_large("/admin/", APP)
        self.assertEqual(outside.status, 413)
        self.assertNotIn("Access-Control-Allow-Origin", outside.headers)

    def refuse_large(self, path: str, origin: str) -> HTTPResponse:
        """Announce a body that is too large, and return the response."""
        head = f"PATCH {path} HTTP/1.1\r\nOrigin: {origin}\r\nContent-Length: {MEBIBYTE + 1}\r\n"
        with self.connect() as peer:
            peer.sendall(head.encode() + HOST + b"\r\n")
            response, _ = read_response(peer)
        return response


@unittest.skipIf(IS_MISSING, "Needs haproxy.")
class ImpatientProxyTests(ProxyTestCase):
    timeout = "1s"

    def test_body_that_does_not_arrive_is_408(self):
        for sent in PARTS_OF_BODIES:
            with self.subTest(sent), self.connect() as peer:
                peer.sendall(sent)
                response, body = read_response(peer)
                self.assertEqual(response.status, 408)
                self.assert_envelope(response, body, "REQUEST_TIMEOUT")
                self.assertEqual(peer.recv(1), b"")

    def test_headers_that_do_not_arrive_are_408(self):
        for sent in PARTS_OF_HEADERS:
            with self.subTest(sent), self.connect() as peer:
                peer.sendall(sent)
                response, _ = read_response(peer)
                self.assertEqual(response.status, 408)

    def test_silent_connection_is_closed(self):
        with self.connect() as peer:
            self.assertEqual(peer.recv(1), b"")

    def test_refused_requests_are_logged_as_json(self):
        with self.connect() as peer:
            peer.sendall(PARTS_OF_BODIES[0])
            response, _ = read_response(peer)
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        found = [json.loads(line)["request_id"] for line in lines]
        self.assertIn(response.headers["X-Request-ID"], found)


@unittest.skipIf(IS_MISSING, "Needs haproxy.")
class WebIsDownTests(SimpleTestCase):
    def test_proxy_starts_without_allowed_pages_and_lets_none_read(self):
        for origin in (APP, ""):
            with self.subTest(origin), haproxy(free_port()) as (port, _):
                with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as peer:
                    head = f"GET /api/v1/me HTTP/1.1\r\nOrigin: {origin}\r\n".encode()
                    peer.sendall(head + HOST + CLOSE + b"\r\n")
                    response, _ = read_response(peer)
                self.assertEqual(response.status, 503)
                self.assertNotIn("Access-Control-Allow-Origin", response.headers)

    def test_api_paths_get_503_in_the_envelope(self):
        with haproxy(free_port(), origins=APP) as (port, _):
            for path in ("/api/v1/me", "/admin/"):
                with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as peer:
                    origin = f"Origin: {APP}\r\n\r\n".encode()
                    peer.sendall(b"GET %s HTTP/1.1\r\n" % path.encode() + HOST + CLOSE + origin)
                    response, body = read_response(peer)
                self.assertEqual(response.status, 503)
                if path == "/admin/":
                    self.assertEqual(response.headers["Content-Type"], "text/html")
                else:
                    self.assertEqual(json.loads(body)["error"]["code"], "SERVICE_UNAVAILABLE")
                    self.assertEqual(response.headers["Retry-After"], "2")
                    self.assertEqual(response.headers["Access-Control-Allow-Origin"], APP)


def raise_open_files_limit() -> int:
    """Raise the limit of open files of this process as far as needed and allowed; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = HALF_SENT + 1_000
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def statuses_in(received: bytes) -> list[int]:
    """Return the status of each answer in the bytes that a connection received."""
    return [int(status) for status in re.findall(rb"HTTP/1\.\d (\d{3}) ", received)]
