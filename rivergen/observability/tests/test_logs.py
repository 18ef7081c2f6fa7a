"""Log lines: one for each request, as text or JSON, and without secrets."""

import functools
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO
from tempfile import TemporaryFile
from typing import Any
from unittest import mock

from django.conf import settings
from django.test import Client, TransactionTestCase

from datasources.testing import DataSourceTestCase, admin_client
from rivergen.observability.logs import JSONFormatter, RequestIDFilter, TextFormatter
from rivergen.testing.gunicorn import ask, environment, gunicorn


@contextmanager
def logged(form: str) -> Iterator[Callable[[], list[str]]]:
    """Collect log lines in a format; yield a function that returns the lines so far."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    configured: Any = settings.LOGGING["formatters"]
    text = TextFormatter(configured["text"]["format"])
    handler.setFormatter(JSONFormatter() if form == "json" else text)
    handler.addFilter(RequestIDFilter())
    logging.getLogger("rivergen").addHandler(handler)
    try:
        yield lambda: stream.getvalue().splitlines()
    finally:
        logging.getLogger("rivergen").removeHandler(handler)


class LogTests(DataSourceTestCase):
    def logged_json(self, send: Callable[[], Any]) -> list[dict[str, Any]]:
        """Return the JSON lines that are logged while `send` is called."""
        with logged("json") as lines:
            self.response = send()
        return [json.loads(line) for line in lines()]

    def test_request_is_logged_as_one_json_object(self):
        [line] = self.logged_json(lambda: self.call("get", self.path, user=self.viewer))
        time = datetime.fromisoformat(line.pop("time"))
        self.assertLess(datetime.now(UTC) - time, timedelta(minutes=1))
        self.assertEqual(time.tzinfo, UTC)
        self.assertGreater(line["ms"], 0)
        path = f"/api/v1{self.path}"
        self.assertEqual(
            line,
            {
                "level": "INFO",
                "logger": "rivergen.request",
                "message": f"GET '{path}' 200 {line['ms']:.1f} ms",
                "request_id": self.response["X-Request-ID"],
                "user_id": self.viewer.pk,
                "organization_id": self.acme.pk,
                "method": "GET",
                "path": path,
                "status": 200,
                "ms": line["ms"],
            },
        )

    def test_json_times_are_in_utc_and_end_in_z(self):
        record = logging.LogRecord("x", logging.INFO, "", 0, "x", (), None)
        record.created = 0.0625
        line = json.loads(JSONFormatter().format(record))
        self.assertEqual(line["time"], "1970-01-01T00:00:00.062Z")

    def test_request_line_has_the_organization_of_the_row(self):
        organization = f"/organizations/{self.acme.pk}"
        new = {"name": "New", "type": "csv"}
        for method, path, body in (
            ("get", organization, None),
            ("get", f"{organization}/members", None),
            ("patch", self.path, {"port": 1}),
            ("get", f"{self.path}/history", None),
            ("get", f"{self.path}/credentials", None),
            ("post", "/data-sources", new),
            ("post", "/data-sources", new),  # the name is taken
        ):
            with self.subTest(method=method, path=path):
                send = functools.partial(self.call, method, path, body, self.owner)
                *_, line = self.logged_json(send)
                self.assertEqual(line["organization_id"], self.acme.pk)

    def test_log_line_leaves_out_an_unknown_user_or_organization(self):
        [line] = self.logged_json(lambda: self.call("get", self.path, user=self.stranger))
        self.assertEqual(line["user_id"], self.stranger.pk)
        self.assertNotIn("organization_id", line)
        [line] = self.logged_json(lambda: self.call("get", self.path))
        self.assertNotIn("user_id", line)
        [line] = self.logged_json(lambda: logging.getLogger("rivergen.x").info("outside"))
        self.assertEqual({*line}, {"time", "level", "logger", "message"})

    def test_request_line_of_a_page_has_the_user_of_the_session(self):
        client = admin_client(self.admin)
        [line] = self.logged_json(lambda: client.get("/admin/"))
        self.assertEqual(line["user_id"], self.admin.pk)
        [line] = self.logged_json(lambda: Client().get("/admin/login/"))
        self.assertNotIn("user_id", line)

    def test_logging_needs_no_additional_statement(self):
        with self.assertNumQueries(1):
            self.logged_json(lambda: self.call("get", self.path, user=self.viewer))

    def test_error_line_has_the_ids_of_its_request_and_no_local_variables(self):
        secret = "pa55-w0rd-in-a-variable"

        def fail(*args: Any, **options: Any) -> None:
            variable = secret  # noqa: F841
            raise RuntimeError("Out of\norder")

        with mock.patch("datasources.viewsets.DataSourceSerializer", fail):
            error, request = self.logged_json(lambda: self.call("get", self.path, user=self.viewer))
        self.assertEqual((error["level"], error["logger"]), ("ERROR", "rivergen.errors"))
        for name in ("request_id", "user_id", "organization_id"):
            self.assertEqual(error[name], request[name])
        self.assertIn("RuntimeError: Out of\norder", error["exception"])
        self.assertIn("in fail", error["exception"])
        self.assertNotIn(secret, json.dumps(error))
        self.assertEqual(request["status"], 500)

    def test_line_breaks_in_a_path_do_not_split_the_log_line(self):
        forged = '2026-01-01 00:00:00,000 INFO rivergen.request [-] GET "/" 200 0.1 ms'
        for separator in ("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"):
            for form in ("text", "json"):
                with self.subTest(separator=separator, form=form), logged(form) as lines:
                    self.client.get(f"/a{separator}{forged}")
                    self.assertEqual(len(lines()), 1)

    def test_text_of_an_error_cannot_imitate_a_log_line(self):
        forged = '2026-01-01 00:00:00,000 INFO rivergen.request [-] GET "/" 200 0.1 ms'

        def fail(*args: Any, **options: Any) -> None:
            raise RuntimeError(f"a\n{forged}\r{forged}\x85{forged}\x1b[2K{forged}")

        with mock.patch("datasources.viewsets.DataSourceSerializer", fail), logged("text") as lines:
            self.call("get", self.path, user=self.viewer)
        starts = [line for line in lines() if not line.startswith("    ")]
        self.assertEqual(len(starts), 2, starts)  # the error, and the request
        self.assertNotIn("\x1b", "".join(lines()))
        self.assertIn("in fail", "".join(lines()))

    def test_json_formatter_accepts_surrogates_and_bytes(self):
        # Formatted, not logged: pytest-xdist cannot pass captured surrogates between its processes.
        record = logging.makeLogRecord({"msg": "%s %r", "args": ("\ud800", b"\xff")})
        line = JSONFormatter().format(record)
        self.assertEqual(json.loads(line)["message"], "\ud800 b'\\xff'")


class ProcessTests(TransactionTestCase):
    def read(self, log: Any) -> list[dict[str, Any]]:
        log.seek(0)
        return [json.loads(line) for line in log]

    def test_every_log_line_of_the_web_server_is_json(self):
        with TemporaryFile() as log:
            with gunicorn(log, LOG_FORMAT="json") as (_, port):
                ask(port, "/api/v1/me", **{"X-Request-ID": "of-the-caller"})
            lines = self.read(log)
        loggers = {line["logger"] for line in lines}
        self.assertEqual(loggers, {"gunicorn.error", "rivergen.request"})
        [line] = [line for line in lines if line.get("request_id") == "of-the-caller"]
        self.assertEqual((line["path"], line["status"]), ("/api/v1/me", 401))

    def test_every_log_line_of_a_worker_is_json(self):
        with TemporaryFile() as log:
            worker = subprocess.Popen(
                [sys.executable, "manage.py", "worker"],
                cwd=settings.BASE_DIR,
                env=environment(LOG_FORMAT="json"),
                stderr=subprocess.PIPE,
            )
            assert worker.stderr is not None
            log.write(worker.stderr.readline())
            worker.send_signal(signal.SIGTERM)
            log.write(worker.communicate()[1])
            [line] = self.read(log)
        self.assertEqual((line["logger"], line["level"]), ("rivergen.worker", "INFO"))
        self.assertIn("Ready", line["message"])
