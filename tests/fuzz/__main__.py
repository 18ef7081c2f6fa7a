"""Start a server on a database of its own, fuzz it, and stop it."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from rivergen.run import BASE_DIR, serve
from rivergen.tests.services import prepare
from tests.fuzz import NEWCOMER

TOKEN_LIFETIME = timedelta(hours=6)


def main() -> int:
    """Run schemathesis with the arguments of the command line; return its exit status."""
    port = prepare("rivergen_fuzz")
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


def make_admin() -> str:
    """Create an organization with data sources, whose schemas were read; give a token of its admin.

    An admin's, because an owner would sooner or later remove the organization.
    """
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.models import DataSource
    from datasources.schemas.testing import column, refresh, table
    from organizations.models import Membership, Organization, Role, User

    organization = Organization.objects.create(name="Fuzz", slug="fuzz")
    for role in Role.values:
        user = User.objects.create_user(f"fuzz-{role}")
        Membership.objects.create(user=user, organization=organization, role=role)
    User.objects.bulk_create(User(username=NEWCOMER.format(n)) for n in range(20_000))
    for number, type_name in enumerate(DataSource.Type.values):
        data_source = DataSource.objects.create(
            organization=organization, name=f"{number}", type=type_name
        )
        for column_name in ("id", "number"):
            refresh(data_source, table("orders", column(column_name)))
    token = AccessToken.for_user(User.objects.get(username="fuzz-admin"))
    token.set_exp(lifetime=TOKEN_LIFETIME)
    return str(token)


if __name__ == "__main__":
    sys.exit(main())
