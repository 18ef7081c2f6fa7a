"""Run requests as the restricted role of row-level security, which owns nothing in the database."""

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
    """A database role, and a connection of the role that stays open between requests."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connection = self.connect_to("default")

    def connect_to(self, alias: str, **settings: Any) -> DatabaseWrapper:
        """Return a connection of the role to a database alias, changed by `settings`."""
        known = connections[alias].settings_dict
        credentials = {"USER": self.name, "PASSWORD": PASSWORD}
        return DatabaseWrapper({**known, **credentials, **settings}, alias)

    @contextmanager
    def connected(self, *others: DatabaseWrapper) -> Iterator[None]:
        """Make this thread use the role's connection, and others, until the block ends."""
        by_alias = {one.alias: one for one in (self.connection, *others)}
        before: dict[str, Any] = {alias: connections[alias] for alias in by_alias}
        with override_settings(DATABASE_ROW_LEVEL_SECURITY=True):
            try:
                for alias, wrapper in by_alias.items():
                    connections[alias] = wrapper
                yield
            finally:
                for alias, wrapper in before.items():
                    connections[alias] = wrapper

    @contextmanager
    def handling_requests(self, *others: DatabaseWrapper) -> Iterator[None]:
        """Run requests as the role; the test's own queries still run as the owner."""
        send = Client.request

        def request(client: Client, **options: Any) -> Any:
            with self.connected(*others):
                return send(client, **options)

        with mock.patch.object(Client, "request", request):
            yield


@contextmanager
def web_role() -> Iterator[WebRole]:
    """Yield a new role that row-level security restricts, and remove both at the end."""
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


def role_in_transaction(*options: str) -> str:
    """Create and protect a role in the current transaction; return its name.

    The rollback at the end of the test case removes the role and its policies.
    """
    name = f"{connection.settings_dict['NAME']}_undone"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name}")
    call_command("protect_rows", name, *options, stdout=StringIO())
    return name


def become(role: str, user: Any) -> None:
    """Continue the current transaction as a role, acting as a user, if one is given."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL ROLE {role}")
        cursor.execute("SELECT set_config('rivergen.organization_ids', '', true)")
        if user is not None:
            cursor.execute("SELECT rivergen_see_as(%s)", [user.pk])
