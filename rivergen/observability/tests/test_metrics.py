"""/metrics: the counts of requests, and who may read them."""

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
from rivergen.testing.metrics import parse_metrics
from rivergen.testing.outage import without_database

TOKEN = "a-token-for-prometheus"


class CountingTests(APITestCase):
    def scrape(self) -> dict[str, float]:
        response = self.client.get("/metrics")
        self.assertEqual(response.status_code, 200)
        return parse_metrics(response.content.decode())

    def counted(self, send: Any) -> dict[str, float]:
        """Return the series of requests that grew when `send` was called, and by how much."""
        before = self.scrape()
        send()
        return {
            series: value - before.get(series, 0)
            for series, value in self.scrape().items()
            if series.startswith("rivergen_http_requests_total")
            and value != before.get(series, 0)
            and "/metrics" not in series
        }

    def test_requests_are_counted_by_route_method_and_status(self):
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

    def test_unknown_paths_and_methods_share_one_label(self):
        def send() -> None:
            for path in ("/a", "/api/v1/b", "/static/c", "/admin-d", "/e//", "/e\n"):
                self.client.get(path)
            for method in ("BREW", "X" * 500):
                self.client.generic(method, "/healthz")

        labels = {re.sub(r"status=.*", "", series) for series in self.counted(send)}
        expected = {
            'rivergen_http_requests_total{method="GET",route="unknown",',
            'rivergen_http_requests_total{method="other",route="/healthz",',
        }
        self.assertEqual(labels, expected)

    def test_static_files_are_counted_together(self):
        counted = self.counted(lambda: self.client.get("/static/rivergen/icon.svg"))
        labels = '{method="GET",route="/static/",status="200"}'
        self.assertEqual(counted, {f"rivergen_http_requests_total{labels}": 1})

    def test_durations_of_requests_are_measured(self):
        self.client.get("/healthz")
        metrics = self.scrape()
        name = "rivergen_http_request_duration_seconds"
        labels = 'method="GET",route="/healthz"'
        count = metrics[f"{name}_count{{{labels}}}"]
        self.assertGreaterEqual(count, 1)
        self.assertEqual(metrics[f'{name}_bucket{{le="+Inf",{labels}}}'], count)
        self.assertGreater(metrics[f"{name}_sum{{{labels}}}"], 0)

    def test_scrape_is_itself_in_progress_and_a_failed_request_is_not(self):
        self.assertEqual(self.scrape()["rivergen_http_requests_in_progress"], 1)
        with mock.patch("rivergen.observability.health.JsonResponse", side_effect=SystemExit):
            self.assertRaises(SystemExit, self.client.get, "/healthz")
        self.assertEqual(self.scrape()["rivergen_http_requests_in_progress"], 1)

    def test_metric_database_up_is_1_while_the_database_answers(self):
        self.assertEqual(self.scrape()["rivergen_database_up"], 1)

    def test_unreachable_database_sets_database_up_to_0_and_keeps_request_metrics(self):
        self.client.get("/healthz")
        response = without_database(lambda: Client().get("/metrics"))
        self.assertEqual(response.status_code, 200)
        metrics = parse_metrics(response.content.decode())
        self.assertEqual(metrics["rivergen_database_up"], 0)
        self.assertTrue(any('route="/healthz"' in series for series in metrics))
        self.assertFalse(any(series.startswith("rivergen_jobs") for series in metrics))

    def test_slow_query_of_the_metrics_times_out(self):
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

    def test_metrics_refuse_post_put_patch_and_delete(self):
        for method in ("post", "put", "patch", "delete"):
            with self.subTest(method=method):
                self.assertEqual(getattr(self.client, method)("/metrics").status_code, 405)


class AccessTests(TestCase):
    def status(self, address: str = "127.0.0.1", **headers: str) -> int:
        return Client(REMOTE_ADDR=address).get("/metrics", headers=headers).status_code

    def test_only_loopback_addresses_may_read_metrics_by_default(self):
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

    def test_refused_request_for_metrics_returns_no_metrics(self):
        response = Client(REMOTE_ADDR="192.0.2.1").get("/metrics")
        self.assertNotIn("rivergen_", response.content.decode())
        self.assertEqual(response["Content-Type"], "text/plain")

    def test_request_for_metrics_through_a_proxy_does_not_count_as_local(self):
        for name in ("X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Proto"):
            with self.subTest(name):
                self.assertEqual(self.status(**{name: "127.0.0.1"}), 403)

    def test_num_proxies_decides_which_forwarded_address_counts(self):
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
    def test_metrics_allow_setting_replaces_the_networks(self):
        for address, status in (("10.1.2.3", 200), ("fd00::1", 200), ("127.0.0.1", 403)):
            with self.subTest(address=address):
                self.assertEqual(self.status(address), status)

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_metrics_token_is_required_if_set(self):
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
    def test_counts_of_all_web_processes_are_added_including_dead_ones(self):
        series = 'rivergen_http_requests_total{method="GET",route="/healthz",status="200"}'
        with TemporaryDirectory() as folder:
            with gunicorn(TMPDIR=folder) as (master, port):
                for _ in range(40):
                    ask(port, "/healthz")
                self.assertEqual(parse_metrics(ask(port, "/metrics"))[series], 40)
                workers = psutil.Process(master.pid).children()
                files = {path.name for path in Path(folder).glob("rivergen-metrics-*/counter_*")}
                self.assertLessEqual(files, {f"counter_{worker.pid}.db" for worker in workers})
                for worker in workers:
                    worker.send_signal(signal.SIGKILL)
                psutil.wait_procs(workers)
                for _ in range(10):
                    ask(port, "/healthz")
                metrics = parse_metrics(ask(port, "/metrics"))
                self.assertEqual(metrics[series], 50)
                self.assertEqual(metrics["rivergen_http_requests_in_progress"], 1)
                dead = {f"gauge_livesum_{worker.pid}.db" for worker in workers}
                files = {path.name for path in Path(folder).glob("rivergen-metrics-*/*")}
                self.assertEqual(files & dead, set())
            self.assertEqual([*Path(folder).iterdir()], [])

    def test_request_is_answered_if_it_cannot_be_counted(self):
        with TemporaryDirectory() as folder, gunicorn(TMPDIR=folder) as (master, port):
            for path in Path(folder).glob("rivergen-metrics-*"):
                shutil.rmtree(path)
            workers = psutil.Process(master.pid).children()
            for worker in workers:
                worker.send_signal(signal.SIGKILL)
            psutil.wait_procs(workers)
            for _ in range(4):
                self.assertEqual(ask(port, "/healthz"), '{"status": "ok"}')
