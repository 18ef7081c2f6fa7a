"""/metrics: what is counted, and who may read it."""

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import psutil
from django.db import connection
from django.test import Client, TestCase, override_settings
from rest_framework.settings import api_settings

from organizations.testing import APITestCase
from rivergen.egress.rules import parse_network
from rivergen.testing.gunicorn import ask, gunicorn
from rivergen.testing.outage import without_database

TOKEN = "a-token-for-prometheus"


def read(text: str) -> dict[str, float]:
    """Give the value of each series, by its name and labels as they are written."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


class CountingTests(APITestCase):
    def scrape(self) -> dict[str, float]:
        response = self.client.get("/metrics")
        self.assertEqual(response.status_code, 200)
        return read(response.content.decode())

    def counted(self, send: Any) -> dict[str, float]:
        """Give by how much which series of requests grew when `send` was called."""
        before = self.scrape()
        send()
        return {
            series: value - before.get(series, 0)
            for series, value in self.scrape().items()
            if series.startswith("rivergen_http_requests_total")
            and value != before.get(series, 0)
            and "/metrics" not in series
        }

    def test_counts_by_route_method_and_status(self):
        def send() -> None:
            for pk in (1, 2, 3):
                self.call("get", f"/data-sources/{pk}", user=self.viewer)
            self.call("patch", "/data-sources/1", {"port": 1})

        route = 'route="/api/v1/data-sources/{data_source_id}"'
        expected = {
            f'rivergen_http_requests_total{{method="GET",{route},status="404"}}': 3,
            f'rivergen_http_requests_total{{method="PATCH",{route},status="401"}}': 1,
        }
        self.assertEqual(self.counted(send), expected)

    def test_no_path_or_method_of_a_client_becomes_a_label(self):
        def send() -> None:
            for path in ("/a", "/api/v1/b", "/static/c", "/admin-d", "//", "/\n"):
                self.client.get(path)
            for method in ("BREW", "X" * 500):
                self.client.generic(method, "/healthz")

        labels = {re.sub(r"status=.*", "", series) for series in self.counted(send)}
        expected = {
            'rivergen_http_requests_total{method="GET",route="unknown",',
            'rivergen_http_requests_total{method="other",route="/healthz",',
        }
        self.assertEqual(labels, expected)

    def test_counts_files_together(self):
        counted = self.counted(lambda: self.client.get("/static/rivergen/icon.svg"))
        labels = '{method="GET",route="/static/",status="200"}'
        self.assertEqual(counted, {f"rivergen_http_requests_total{labels}": 1})

    def test_measures_how_long_it_took(self):
        self.client.get("/healthz")
        metrics = self.scrape()
        name = "rivergen_http_request_duration_seconds"
        labels = 'method="GET",route="/healthz"'
        count = metrics[f"{name}_count{{{labels}}}"]
        self.assertGreaterEqual(count, 1)
        self.assertEqual(metrics[f'{name}_bucket{{le="+Inf",{labels}}}'], count)
        self.assertGreater(metrics[f"{name}_sum{{{labels}}}"], 0)

    def test_counts_itself_as_in_progress(self):
        self.assertEqual(self.scrape()["rivergen_http_requests_in_progress"], 1)
        with mock.patch("rivergen.observability.health.JsonResponse", side_effect=SystemExit):
            self.assertRaises(SystemExit, self.client.get, "/healthz")
        self.assertEqual(self.scrape()["rivergen_http_requests_in_progress"], 1)

    def test_says_that_the_database_is_there(self):
        self.assertEqual(self.scrape()["rivergen_database_up"], 1)

    def test_says_that_the_database_is_out_of_reach_and_the_rest_all_the_same(self):
        self.client.get("/healthz")
        response = without_database(lambda: Client().get("/metrics"))
        self.assertEqual(response.status_code, 200)
        metrics = read(response.content.decode())
        self.assertEqual(metrics["rivergen_database_up"], 0)
        self.assertTrue(any('route="/healthz"' in series for series in metrics))
        self.assertFalse(any(series.startswith("rivergen_jobs") for series in metrics))

    def test_does_not_wait_for_a_slow_database(self):
        def sleep() -> Iterator[None]:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(60)")
            yield

        with (
            mock.patch("rivergen.observability.metrics.STATEMENT_TIMEOUT", 1),
            mock.patch("datasources.metrics.jobs", lambda: next(sleep())),
        ):
            self.assertEqual(self.scrape()["rivergen_database_up"], 0)
        self.assertEqual(self.scrape()["rivergen_database_up"], 1)

    def test_takes_no_other_methods(self):
        for method in ("post", "put", "patch", "delete"):
            with self.subTest(method=method):
                self.assertEqual(getattr(self.client, method)("/metrics").status_code, 405)


class AccessTests(TestCase):
    def status(self, address: str = "127.0.0.1", **headers: str) -> int:
        return Client(REMOTE_ADDR=address).get("/metrics", headers=headers).status_code

    def test_by_default_this_machine_alone_may_read(self):
        for address, status in (
            ("127.0.0.1", 200),
            ("127.9.9.9", 200),
            ("::1", 200),
            ("::ffff:127.0.0.1", 200),
            ("10.0.0.1", 403),
            ("192.0.2.1", 403),
            ("::ffff:10.0.0.1", 403),
            ("2001:db8::1", 403),
            ("", 403),
            ("unix:", 403),
        ):
            with self.subTest(address=address):
                self.assertEqual(self.status(address), status)

    def test_says_nothing_to_others(self):
        response = Client(REMOTE_ADDR="192.0.2.1").get("/metrics")
        self.assertNotIn("rivergen_", response.content.decode())
        self.assertEqual(response["Content-Type"], "text/plain")

    def test_whoever_comes_through_a_proxy_is_not_of_this_machine(self):
        for name in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Proto"):
            with self.subTest(name):
                self.assertEqual(self.status(**{name: "127.0.0.1"}), 403)

    def test_goes_by_the_address_that_the_proxies_have_seen(self):
        with mock.patch.object(api_settings, "NUM_PROXIES", 1):
            for forwarded, status in (
                ("127.0.0.1", 200),
                ("192.0.2.1", 403),
                ("127.0.0.1, 192.0.2.1", 403),
                ("192.0.2.1, 127.0.0.1", 200),
                ("", 403),
                ("x", 403),
            ):
                with self.subTest(forwarded=forwarded):
                    self.assertEqual(self.status(**{"X-Forwarded-For": forwarded}), status)
            self.assertEqual(self.status(), 200)  # not through the proxy
            self.assertEqual(self.status(**{"X-Forwarded-Proto": "https"}), 403)

    @override_settings(METRICS_ALLOW=[parse_network("10.1.0.0/16"), parse_network("fd00::/8")])
    def test_the_networks_may_be_others(self):
        for address, status in (("10.1.2.3", 200), ("fd00::1", 200), ("127.0.0.1", 403)):
            with self.subTest(address=address):
                self.assertEqual(self.status(address), status)

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_a_token_is_needed_if_there_is_one(self):
        for sent, status in (
            (f"Bearer {TOKEN}", 200),
            (f"Bearer {TOKEN}x", 403),
            (f"bearer {TOKEN}", 403),
            (TOKEN, 403),
            ("Bearer é", 403),
            ("", 403),
        ):
            with self.subTest(sent=sent):
                self.assertEqual(self.status(Authorization=sent), status)
        self.assertEqual(self.status(), 403)
        self.assertEqual(self.status("192.0.2.1", Authorization=f"Bearer {TOKEN}"), 403)


class GunicornTests(TestCase):
    def test_adds_up_what_all_web_processes_count_also_those_that_died(self):
        series = 'rivergen_http_requests_total{method="GET",route="/healthz",status="200"}'
        with TemporaryDirectory() as folder:
            with gunicorn(TMPDIR=folder) as (master, port):
                for _ in range(40):
                    ask(port, "/healthz")
                self.assertEqual(read(ask(port, "/metrics"))[series], 40)
                workers = psutil.Process(master.pid).children()
                files = {path.name for path in Path(folder).glob("rivergen-metrics-*/counter_*")}
                self.assertLessEqual(files, {f"counter_{worker.pid}.db" for worker in workers})
                for worker in workers:
                    worker.send_signal(signal.SIGKILL)
                psutil.wait_procs(workers)
                for _ in range(10):
                    ask(port, "/healthz")
                metrics = read(ask(port, "/metrics"))
                self.assertEqual(metrics[series], 50)
                self.assertEqual(metrics["rivergen_http_requests_in_progress"], 1)
                dead = {f"gauge_livesum_{worker.pid}.db" for worker in workers}
                files = {path.name for path in Path(folder).glob("rivergen-metrics-*/*")}
                self.assertEqual(files & dead, set())
            self.assertEqual([*Path(folder).iterdir()], [])

    def test_a_request_that_cannot_be_counted_is_answered(self):
        with TemporaryDirectory() as folder, gunicorn(TMPDIR=folder) as (master, port):
            for path in Path(folder).glob("rivergen-metrics-*"):
                shutil.rmtree(path)
            workers = psutil.Process(master.pid).children()
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
            psutil.wait_procs(workers)
            for _ in range(4):
                self.assertEqual(ask(port, "/healthz"), '{"status": "ok"}')
