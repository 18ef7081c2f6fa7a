"""Start a server on a database of its own, fuzz it, and stop it."""

import os
import secrets
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import django
import psycopg
from django.core.management import call_command
from psycopg import sql

from rivergen import embedded_postgres
from rivergen.run import BASE_DIR, serve
from tests.fuzz import NEWCOMER

DATABASE = "rivergen_fuzz"
TOKEN_LIFETIME = timedelta(hours=6)


def main() -> int:
    """Run schemathesis with the arguments of the command line; return its exit status."""
    url = os.environ.get("DATABASE_URL") or embedded_postgres.start(BASE_DIR / ".postgres")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    os.environ.update(
        BIND_ADDRESS="127.0.0.1",
        DATABASE_URL=make_database(url),
        DJANGO_SETTINGS_MODULE="rivergen.settings",
        PORT=str(port),
        RATE_LIMIT_TOKEN="1000000/min",
        RATE_LIMIT_USER="1000000/min",
        SECRET_KEY=secrets.token_urlsafe(50),
    )
    django.setup()
    call_command("migrate", verbosity=0)
    os.environ["FUZZ_TOKEN"] = make_admin()
    folder = Path(__file__).parent
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"]
    location = f"http://127.0.0.1:{port}/api/v1/openapi.json"
    with serve(port, log=subprocess.DEVNULL):
        return subprocess.run(
            [*command, "run", location, *sys.argv[1:]],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(BASE_DIR)},
        ).returncode


def make_database(url: str) -> str:
    """Create an empty database beside the one that `url` names, and give its URL."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(DATABASE)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    return urlsplit(url)._replace(path=f"/{DATABASE}").geturl()


def make_admin() -> str:
    """Create an organization with data sources; give a token of its admin.

    An admin's, because an owner would sooner or later remove the organization.
    """
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.models import DataSource
    from organizations.models import Membership, Organization, Role, User

    organization = Organization.objects.create(name="Fuzz", slug="fuzz")
    for role in Role.values:
        user = User.objects.create_user(f"fuzz-{role}")
        Membership.objects.create(user=user, organization=organization, role=role)
    User.objects.bulk_create(User(username=NEWCOMER.format(n)) for n in range(20_000))
    for number, type_name in enumerate(DataSource.Type.values):
        DataSource.objects.create(organization=organization, name=f"{number}", type=type_name)
    token = AccessToken.for_user(User.objects.get(username="fuzz-admin"))
    token.set_exp(lifetime=TOKEN_LIFETIME)
    return str(token)


if __name__ == "__main__":
    sys.exit(main())
