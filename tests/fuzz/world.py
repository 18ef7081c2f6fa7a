"""The initial data: organizations, users of each role, and triggers that count changes."""

from datetime import timedelta
from typing import Any

from django.db import connection

from rivergen.testing.fingerprint import business_tables
from tests.fuzz import NEWCOMER

TOKEN_LIFETIME = timedelta(hours=6)
NEWCOMERS = 20_000


def make_world() -> dict[str, str]:
    """Create two organizations with data sources and snapshots of their schemas.

    Returns access tokens: by role for the members of the first organization, `stranger` for the
    owner of the second, and `loner` for a user without an organization.
    """
    from datasources.models import DataSource
    from datasources.schemas.testing import column, refresh, table
    from organizations.models import Membership, Organization, Role, User

    users: dict[str, User] = {}
    for slug in ("fuzz", "other"):
        organization = Organization.objects.create(name=slug.title(), slug=slug)
        for role in Role.values if slug == "fuzz" else [Role.OWNER]:
            name = role if slug == "fuzz" else "stranger"
            users[name] = User.objects.create_user(f"fuzz-{name}")
            Membership.objects.create(user=users[name], organization=organization, role=role)
        for number, type_name in enumerate(DataSource.Type.values):
            data_source = DataSource.objects.create(
                organization=organization, name=f"{number}", type=type_name
            )
            for column_name in ("id", "number"):
                refresh(data_source, table("orders", column(column_name)))
    users["loner"] = User.objects.create_user("fuzz-loner")
    User.objects.bulk_create(User(username=NEWCOMER.format(n)) for n in range(NEWCOMERS))
    count_changes()
    return {name: token_of(user) for name, user in users.items()}


def token_of(user: Any) -> str:
    """Return an access token that outlives the run."""
    from rest_framework_simplejwt.tokens import AccessToken

    token = AccessToken.for_user(user)
    token.set_exp(lifetime=TOKEN_LIFETIME)
    return str(token)


def count_changes() -> None:
    """Create triggers that count the rows written by committed transactions.

    Tables of bookkeeping (counts, used tokens) and of jobs have no trigger.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TABLE fuzz_changes (number bigint NOT NULL);
            INSERT INTO fuzz_changes VALUES (0);
            CREATE FUNCTION fuzz_count_change() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN UPDATE fuzz_changes SET number = number + 1; RETURN NULL; END $$
            """
        )
        for table in business_tables():
            cursor.execute(
                f"CREATE TRIGGER fuzz_change AFTER INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION fuzz_count_change()"
            )
