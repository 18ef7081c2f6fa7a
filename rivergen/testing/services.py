"""Prepare a database and settings for tests that start the service as real processes."""

import os
import secrets
import socket
from urllib.parse import urlsplit

import django
import psycopg
from django.core.management import call_command
from psycopg import sql

from rivergen.encryption_keys import generate_key
from rivergen.local import embedded_postgres
from rivergen.local.run import BASE_DIR


def prepare(database: str, **environment: str) -> int:
    """Set up Django, for this process and its children, on a new, migrated database.

    The database is created on the server of `DATABASE_URL`. Returns a free port to serve on.
    """
    port = free_port()
    os.environ.update(
        {
            "BIND_ADDRESS": "127.0.0.1",
            "DATABASE_URL": make_database(database),
            "DJANGO_SETTINGS_MODULE": "rivergen.settings",
            "ENCRYPTION_KEYS": generate_key(),
            "PORT": str(port),
            "QUOTA_DATA_SOURCES": "1000000000",
            "QUOTA_HISTORY_BYTES": "1000000000000000",
            "QUOTA_KEPT_ANSWER_BYTES": "1000000000000000",
            "QUOTA_SCHEMA_BYTES": "1000000000000000",
            "RATE_LIMIT_TEST": "1000000/min",
            "RATE_LIMIT_TOKEN": "1000000/min",
            "RATE_LIMIT_USER": "1000000/min",
            "SECRET_KEY": secrets.token_urlsafe(50),
            **environment,
        }
    )
    django.setup()
    call_command("migrate", verbosity=0)
    return port


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def make_database(name: str) -> str:
    """Create an empty database, replacing one of the same name; return its URL."""
    url = server_url()
    with psycopg.connect(url, autocommit=True) as connection:
        identifier = sql.Identifier(name)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
    return url_of(name)


def url_of(database: str) -> str:
    """Return the URL of a database on the server of `DATABASE_URL`."""
    return urlsplit(server_url())._replace(path=f"/{database}").geturl()


def server_url() -> str:
    """Return `DATABASE_URL`, or the URL of the embedded server."""
    return os.environ.get("DATABASE_URL") or embedded_postgres.start(BASE_DIR / ".postgres")
