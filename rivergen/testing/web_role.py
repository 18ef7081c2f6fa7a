"""The web as it signs in where there is row-level security: as a role that owns nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any
from unittest import mock

from django.core.management import call_command
from django.db import connection, connections
from django.test import Client, override_settings

from rivergen.postgresql.base import DatabaseWrapper

PASSWORD = "only-for-tests"


class WebRole:
    """A role, and a connection of its, which stays open between requests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connection = self.connect_to("default")

    def connect_to(self, alias: str, **settings: Any) -> DatabaseWrapper:
        """Give a connection of the role to a database that Django knows, or as `settings` say."""
        known = connections[alias].settings_dict
        credentials = {"USER": self.name, "PASSWORD": PASSWORD}
        return DatabaseWrapper({**known, **credentials, **settings}, alias)

    @contextmanager
    def connected(self, *others: DatabaseWrapper) -> Iterator[None]:
        """Let this thread have the connection of the role, and others, until the block ends."""
        mine = {one.alias: one for one in (self.connection, *others)}
        before: dict[str, Any] = {alias: connections[alias] for alias in mine}
        with override_settings(DATABASE_ROW_LEVEL_SECURITY=True):
            try:
                for alias, one in mine.items():
                    connections[alias] = one
                yield
            finally:
                for alias, one in before.items():
                    connections[alias] = one

    @contextmanager
    def answering(self, *others: DatabaseWrapper) -> Iterator[None]:
        """Let requests be answered by the role; what is done beside them is the owner's."""
        send = Client.request

        def request(client: Client, **options: Any) -> Any:
            with self.connected(*others):
                return send(client, **options)

        with mock.patch.object(Client, "request", request):
            yield


@contextmanager
def web_role() -> Iterator[WebRole]:
    """Make a role beside the owner of the database, and the wall before it, until the end."""
    name = f"{connection.settings_dict['NAME']}_web"
    with connection.cursor() as cursor:
        cursor.execute(f"DROP ROLE IF EXISTS {name}")
        cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    call_command("protect_rows", name, stdout=StringIO())
    role = WebRole(name)
    try:
        yield role
    finally:
        role.connection.close()
        call_command("protect_rows", name, "--remove", stdout=StringIO())
        with connection.cursor() as cursor:
            cursor.execute(f"DROP ROLE {name}")
