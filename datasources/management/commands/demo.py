"""`manage.py demo`: something to try the API on."""

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
# By the slugs of the organizations.
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

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--staff",
            action="store_true",
            help=f"also create {STAFF_USERNAME}, who may do everything in the admin with all "
            "organizations: for a database that has nobody else's",
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
                "The organization demo-acme has been removed. Remove demo-globex and the demo "
                "users as well, and a new demo is made."
            )
        if options["staff"]:
            self.make_staff(acme)
        self.set_password(password)
        self.write_csv(acme)
        self.say_what_to_try(acme, password)
        if options["staff"]:
            pages = f"http://127.0.0.1:{settings.PORT}/admin/"
            self.stdout.write(f"Admin pages: {pages} for {STAFF_USERNAME}, with that password")

    def make_everything(self) -> None:
        """Create the organizations, their users and the data sources."""
        for user in User.objects.filter(username__in=USERNAMES):
            raise CommandError(f"There is a user {user.username} already, and no demo yet.")
        acme = Organization.objects.create(name="Acme", slug="demo-acme")
        globex = Organization.objects.create(name="Globex", slug="demo-globex")
        for organization in (acme, globex):
            for username, role in PEOPLE[organization.slug].items():
                organization.add_member(User.objects.create_user(username), role)
        self.make_data_sources(acme, User.objects.get(username="demo-owner"))

    def set_password(self, password: str) -> None:
        """Let the demo's users sign in with the password that is printed.

        It is hashed once for all of them: hashing takes half a second.
        """
        usernames = (*USERNAMES, STAFF_USERNAME)
        of_demo = {"username__in": usernames, "memberships__organization__slug__in": PEOPLE}
        users = [*User.objects.filter(**of_demo)]
        hashes = {user.password for user in users if user.has_usable_password()}
        good = {hashed for hashed in hashes if check_password(password, hashed)}
        hashed = min(good) if good else make_password(password)
        for user in users:
            if user.password not in good:
                user.password = hashed
                user.save(update_fields=["password"])

    def make_staff(self, acme: Organization) -> None:
        """Create the one who may do everything in the admin, and confirm secrets of one."""
        staff, is_new = User.objects.get_or_create(
            username=STAFF_USERNAME, defaults={"is_staff": True, "is_superuser": True}
        )
        if is_new:
            acme.add_member(staff, Role.ADMIN)
        elif not acme.memberships.filter(user=staff).exists():
            raise CommandError(f"There is a user {STAFF_USERNAME} already, who is not the demo's.")

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

    def write_csv(self, acme: Organization) -> None:
        """Write the file that the CSV source points to, unless it is there."""
        path = settings.STORAGE_ROOT / path_in_storage(acme.pk, CSV_PATH)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(CSV_TEXT)

    def say_what_to_try(self, acme: Organization, password: str) -> None:
        """Print the users, and a curl with a live token."""
        self.stdout.write(f"Users: {', '.join(USERNAMES)}; password: {password}")
        data_source = (
            acme.data_sources.filter(type=DataSource.Type.POSTGRESQL).order_by("id").first()
        )
        if data_source is None:
            self.stdout.write("The demo data source has been deleted; create one to try the API.")
            return
        minutes = int(AccessToken.lifetime.total_seconds() // 60)
        self.stdout.write(f"Try this; the token lives {minutes} minutes:\n")
        token = AccessToken.for_user(User.objects.get(username="demo-owner"))
        self.stdout.write(
            CURL.format(port=settings.PORT, data_source_id=data_source.pk, token=token)
        )
