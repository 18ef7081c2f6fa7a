"""`manage.py demo`: demo data to try the API with."""

import secrets
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from rest_framework_simplejwt.tokens import AccessToken

from datasources.connections.files.storage import path_in_storage
from datasources.models import DataSource
from organizations.models import Organization, Role, User
from rivergen.local.private_files import read_or_make_secret

CSV_PATH = "demo/orders.csv"
CSV_TEXT = """order_id,customer,amount,ordered_at
1,Ada,120.50,2024-11-01
2,Grace,75.00,2024-11-02
3,Linus,210.25,2024-11-02
"""
# Organization slug -> username -> role.
PEOPLE = {
    "demo-acme": {
        "demo-owner": Role.OWNER,
        "demo-admin": Role.ADMIN,
        "demo-editor": Role.EDITOR,
        "demo-viewer": Role.VIEWER,
    },
    "demo-globex": {"demo-stranger": Role.OWNER},
}
USERNAMES = [username for people in PEOPLE.values() for username in people]
STAFF_USERNAME = "demo-staff"
# The example of the API document ("Update Data Source") with this host and token.
CURL = """curl -X PATCH "http://127.0.0.1:{port}/api/v1/data-sources/{data_source_id}" \\
-H "Authorization: Bearer {token}" \\
-H "Content-Type: application/json" \\
-d '{{
"name": "Updated PostgreSQL",
"connection_pool_size": 10
}}'"""


class Command(BaseCommand):
    """Create the demo if there is none, and print how to use it."""

    help = (
        "Create two demo organizations, with a user of every role and two data sources, and print "
        "a curl command that updates one. Safe to run again: existing rows stay unchanged."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--staff",
            action="store_true",
            help=f"also create the superuser {STAFF_USERNAME}, who may change all organizations in "
            "the admin: for a database that holds only the demo",
        )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        password = read_or_make_secret(
            settings.LOCAL_DIR / "demo_password", lambda: secrets.token_urlsafe(12)
        )
        if not Organization.objects.filter(slug__in=PEOPLE).exists():
            self.make_everything()
        acme = Organization.objects.filter(slug="demo-acme").first()
        if acme is None:
            raise CommandError(
                "The organization demo-acme has been removed. To create a new demo, also remove "
                "the organization demo-globex and the demo users."
            )
        if options["staff"]:
            self.make_staff(acme)
        self.set_password(password)
        self.write_csv(acme)
        self.print_instructions(acme, password)
        if options["staff"]:
            pages = f"http://127.0.0.1:{settings.PORT}/admin/"
            self.stdout.write(f"Admin pages: {pages} for {STAFF_USERNAME}, same password")

    def make_everything(self) -> None:
        """Create the organizations, their users and the data sources."""
        for user in User.objects.filter(username__in=USERNAMES):
            raise CommandError(f"There is no demo yet, but already a user {user.username}.")
        acme = Organization.objects.create(name="Acme", slug="demo-acme")
        globex = Organization.objects.create(name="Globex", slug="demo-globex")
        for organization in (acme, globex):
            for username, role in PEOPLE[organization.slug].items():
                organization.add_member(User.objects.create_user(username), role)
        self.make_data_sources(acme, User.objects.get(username="demo-owner"))

    def set_password(self, password: str) -> None:
        """Set the printed password for all users of the demo.

        Hashes the password once for all of them: hashing takes half a second.
        """
        usernames = (*USERNAMES, STAFF_USERNAME)
        demo_users = {"username__in": usernames, "memberships__organization__slug__in": PEOPLE}
        users = [*User.objects.filter(**demo_users)]
        hashes = {user.password for user in users if user.has_usable_password()}
        good = {hashed for hashed in hashes if check_password(password, hashed)}
        hashed = min(good) if good else make_password(password)
        for user in users:
            if user.password not in good:
                user.password = hashed
                user.save(update_fields=["password"])

    def make_staff(self, acme: Organization) -> None:
        """Create a superuser who is also an admin of Acme, so that it can confirm secrets."""
        staff, is_new = User.objects.get_or_create(
            username=STAFF_USERNAME, defaults={"is_staff": True, "is_superuser": True}
        )
        if is_new:
            acme.add_member(staff, Role.ADMIN)
        elif not acme.memberships.filter(user=staff).exists():
            raise CommandError(f"There is already a user {STAFF_USERNAME} who is not of the demo.")

    def make_data_sources(self, acme: Organization, owner: User) -> None:
        """Create the PostgreSQL data source of the API document, and one of a CSV file."""
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

    def write_csv(self, acme: Organization) -> None:
        """Write the file of the CSV data source, unless it exists."""
        path = settings.STORAGE_ROOT / path_in_storage(acme.pk, CSV_PATH)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(CSV_TEXT)

    def print_instructions(self, acme: Organization, password: str) -> None:
        """Print the users, and a curl command with a valid token."""
        self.stdout.write(f"Users: {', '.join(USERNAMES)}; password: {password}")
        data_source = (
            acme.data_sources.filter(type=DataSource.Type.POSTGRESQL).order_by("id").first()
        )
        if data_source is None:
            self.stdout.write("The demo data source has been deleted. Create one to try the API.")
            return
        minutes = int(AccessToken.lifetime.total_seconds() // 60)
        self.stdout.write(f"Try this (the token is valid for {minutes} minutes):\n")
        token = AccessToken.for_user(User.objects.get(username="demo-owner"))
        self.stdout.write(
            CURL.format(port=settings.PORT, data_source_id=data_source.pk, token=token)
        )
