"""`manage.py demo`: something to try the API on."""

import secrets
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction
from rest_framework_simplejwt.tokens import AccessToken

from datasources.models import DataSource
from organizations.models import Membership, Organization, Role, User

CSV_PATH = "demo/orders.csv"
CSV_TEXT = """order_id,customer,amount,ordered_at
1,Ada,120.50,2024-11-01
2,Grace,75.00,2024-11-02
3,Linus,210.25,2024-11-02
"""
PEOPLE = {
    "acme": {
        "demo-owner": Role.OWNER,
        "demo-admin": Role.ADMIN,
        "demo-editor": Role.EDITOR,
        "demo-viewer": Role.VIEWER,
    },
    "globex": {"globex-owner": Role.OWNER},
}
# The example of "Update Data Source", word for word but for host and token.
CURL = """curl -X PATCH "http://127.0.0.1:{port}/api/v1/data-sources/{data_source_id}" \\
-H "Authorization: Bearer {token}" \\
-H "Content-Type: application/json" \\
-d '{{
"name": "Updated PostgreSQL",
"connection_pool_size": 10
}}'"""


class Command(BaseCommand):
    """Create what is missing, and say how to use it."""

    help = (
        "Create two demo organizations with users of every role and two data sources, "
        "and print a curl that updates one. Safe to run again: what is there stays as it is."
    )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        password = self.read_or_make_password()
        acme, is_new = self.make_organization("Acme", "acme", password)
        self.make_organization("Globex", "globex", password)
        owner = User.objects.get(username="demo-owner")
        if is_new:
            self.make_data_sources(acme, owner)
        self.write_csv()
        self.say_what_to_try(acme, owner, password)

    def make_organization(self, name: str, slug: str, password: str) -> tuple[Organization, bool]:
        """Create an organization and its users, unless they exist; say whether it is new."""
        organization, is_new = Organization.objects.get_or_create(
            slug=slug, defaults={"name": name}
        )
        for username, role in PEOPLE[slug].items():
            user, _ = User.objects.get_or_create(username=username)
            user.set_password(password)
            user.save(update_fields=["password"])
            Membership.objects.get_or_create(
                user=user, organization=organization, defaults={"role": role}
            )
        return organization, is_new

    def make_data_sources(self, acme: Organization, owner: User) -> None:
        """Create the PostgreSQL source of the API document, and a CSV file's."""
        shared = {"organization": acme, "created_by": owner, "updated_by": owner}
        DataSource.objects.create(
            **shared,
            name="Production PostgreSQL",
            type=DataSource.Type.POSTGRESQL,
            description="The orders database",
            host="db.example.com",
            port=5432,
            database_name="production",
            schema_name="public",
            tags=["production"],
        )
        DataSource.objects.create(
            **shared,
            name="Orders CSV",
            type=DataSource.Type.CSV,
            description="A file in the demo storage",
            file_path=CSV_PATH,
            tags=["demo"],
        )

    def write_csv(self) -> None:
        """Write the file that the CSV source points to, unless it is there."""
        path = settings.STORAGE_ROOT / CSV_PATH
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(CSV_TEXT)

    def read_or_make_password(self) -> str:
        """Give the demo users' password: random, the same one on every run on this machine."""
        path = settings.LOCAL_DIR / "demo_password"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(12))
        return str(path.read_text().strip())

    def say_what_to_try(self, acme: Organization, owner: User, password: str) -> None:
        """Print the users, and a curl with a live token."""
        names = [name for people in PEOPLE.values() for name in people]
        self.stdout.write(f"Users: {', '.join(names)}; password: {password}")
        data_source = (
            acme.data_sources.filter(type=DataSource.Type.POSTGRESQL).order_by("id").first()
        )
        if data_source is None:
            self.stdout.write("The demo data source has been deleted; create one to try the API.")
            return
        minutes = int(AccessToken.lifetime.total_seconds() // 60)
        self.stdout.write(f"Try this; the token lives {minutes} minutes:\n")
        token = AccessToken.for_user(owner)
        self.stdout.write(
            CURL.format(port=settings.PORT, data_source_id=data_source.pk, token=token)
        )
