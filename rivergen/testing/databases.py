"""Point Django's database aliases at other servers during a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from django.db import connections

from rivergen.env import REPLICA_SILENCE_SECONDS, parse_database
from rivergen.postgresql.replica import REPLICA


@contextmanager
def connected_to(primary_url: str, replica_url: str) -> Iterator[None]:
    """Point the aliases `default` and `replica` of this thread at these URLs during the block."""
    urls = {"default": primary_url, REPLICA: replica_url}
    parsed = {
        alias: parse_database(alias, url, REPLICA_SILENCE_SECONDS) for alias, url in urls.items()
    }
    parsed[REPLICA]["TEST"] = {"MIRROR": "default"}
    before = connections["default"]
    with mock.patch.dict(connections.settings, connections.configure_settings(parsed)):
        for alias in urls:
            connections[alias] = connections.create_connection(alias)
        try:
            yield
        finally:
            for alias in urls:
                connections[alias].close()
            del connections[REPLICA]
            connections["default"] = before
