"""`python -m bench.rotation`: rotate the key of many secrets under load, with five kills.

Seals secrets with an old key, and lets clients update and read data sources while
`manage.py rotate_encryption_key` runs, is killed, and runs again. At the end the new key alone must
open every secret, with its original value. Exits with 1 if a request failed or a secret is wrong.
"""

import argparse
import functools
import itertools
import random
import signal
import subprocess
import sys
import time

from bench.clients import Client, Load
from rivergen.encryption_keys import generate_key, parse_keys
from rivergen.local.run import BASE_DIR, serve
from rivergen.testing.services import prepare

FIELDS = ("password", "ssh_password")
KILLS = 5
BATCH_SIZE = 500
SOURCES_PER_INSERT = 1_000
# Data sources whose destinations the writers change; the secrets of all others stay the same.
BUSY_SOURCES = 50


def main() -> int:
    """Create the secrets, rotate the key under load, verify the secrets, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--secrets", type=int, default=100_000, help="number of secrets; default: 100000"
    )
    number = parser.parse_args().secrets
    old_key, new_key = generate_key(), generate_key()
    port = prepare("rivergen_bench", ENCRYPTION_KEYS=f"{new_key},{old_key}")
    tokens, sources = make_sources(number // len(FIELDS), old_key)
    load = Load()
    with serve(port, log=subprocess.DEVNULL):
        start_clients(load, port, tokens, sources)
        seconds = rotate(number)
        load.stop()
    wrong = count_wrong(sources, new_key)
    report(number, seconds, load, wrong)
    return 1 if load.failures or wrong else 0


def make_sources(number: int, key: str) -> tuple[dict[str, str], list[int]]:
    """Create data sources with secrets sealed by `key`; return tokens by role, and the ids."""
    from django.conf import settings
    from django.db import connection
    from django.utils import timezone
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.credentials.models import Credential
    from datasources.models import DataSource
    from organizations.models import Organization, Role, User

    all_keys, settings.ENCRYPTION_KEYS = settings.ENCRYPTION_KEYS, parse_keys(key)
    organization = Organization.objects.create(name="Bench", slug="bench")
    tokens: dict[str, str] = {}
    for role in (Role.EDITOR, Role.ADMIN):
        user = User.objects.create_user(f"bench-{role}")
        organization.add_member(user, role)
        tokens[role] = str(AccessToken.for_user(user))
    ids: list[int] = []
    for start in range(0, number, SOURCES_PER_INSERT):
        data_sources = DataSource.objects.bulk_create(
            DataSource(organization=organization, name=f"{n}", type="postgresql", host="db")
            for n in range(start, min(start + SOURCES_PER_INSERT, number))
        )
        ids += [data_source.pk for data_source in data_sources]
        credentials = [
            Credential(data_source=data_source, field=field, set_at=timezone.now())
            for data_source in data_sources
            for field in FIELDS
        ]
        for credential in credentials:
            text = secret_value(credential.data_source_id, credential.field)
            credential.seal(text, credential.data_source.destination)
        Credential.objects.bulk_create(credentials)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE datasources_datasource SET credentials_status = 'set'")
    settings.ENCRYPTION_KEYS = all_keys
    return tokens, ids


def secret_value(data_source_id: int, field: str) -> str:
    """Return the expected value of a secret."""
    return f"the {field} of {data_source_id}"


def start_clients(load: Load, port: int, tokens: dict[str, str], ids: list[int]) -> None:
    """Start clients that update, confirm, enter and read secrets, over HTTP and in the shell."""
    from datasources.models import DataSource

    busy, quiet = ids[:BUSY_SOURCES], ids[BUSY_SOURCES:]
    numbers = itertools.count()

    def open_secrets() -> None:
        data_source = DataSource.objects.get(pk=random.choice(quiet))
        opened = data_source.credentials.open()
        if opened != {field: secret_value(data_source.pk, field) for field in FIELDS}:
            raise RuntimeError(f"The secrets of {data_source.pk} are wrong.")

    def change_host(client: Client) -> None:
        client.call("PATCH", f"/{random.choice(busy)}", {"host": f"host-{next(numbers)}"})

    def confirm(client: Client) -> None:
        path = f"/{random.choice(busy)}"
        seen = client.call("GET", path)
        client.call("POST", f"{path}/credentials/confirm", if_match=seen)

    def enter_secret(client: Client) -> None:
        pk = random.choice(busy)
        secret = {"ssh_password": secret_value(pk, "ssh_password")}
        client.call("PATCH", f"/{pk}/credentials", secret)

    def update(client: Client) -> None:
        client.call("PATCH", f"/{random.choice(quiet)}", {"max_retries": 5})

    def read(client: Client) -> None:
        client.call("GET", f"/{random.choice(ids)}/credentials")

    load.start("secrets opened", open_secrets)
    for name, role, work in (
        ("hosts changed by an editor", "editor", change_host),
        ("hosts changed by an admin", "admin", change_host),
        ("confirmations by an admin", "admin", confirm),
        ("secrets entered", "editor", enter_secret),
        ("other updates", "editor", update),
        ("credentials read", "editor", read),
    ):
        load.start(name, functools.partial(work, Client(port, tokens[role])))


def rotate(number: int) -> float:
    """Run the command, kill it five times before it finishes, and return the total seconds."""
    from datasources.credentials.models import Credential

    started_at = time.monotonic()
    command = [sys.executable, "manage.py", "rotate_encryption_key"]
    command += ["--batch-size", str(BATCH_SIZE)]
    rest = number
    for _ in range(KILLS):
        process = subprocess.Popen(command, cwd=BASE_DIR)
        goal = rest - number // (KILLS + 1)
        while process.poll() is None and Credential.objects.of_other_keys().count() > goal:
            pass
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            sys.exit("The command finished before it could be killed. Use more secrets.")
        rest = Credential.objects.of_other_keys().count()
        print(f"Killed; {rest} secrets still use the old key.", flush=True)
    subprocess.run(command, cwd=BASE_DIR, check=True)
    return time.monotonic() - started_at


def count_wrong(ids: list[int], key: str) -> int:
    """Return the number of secrets that the new key alone does not open with their values."""
    from django.conf import settings

    from datasources.credentials.cipher import UnreadableError
    from datasources.credentials.models import Credential

    settings.ENCRYPTION_KEYS = parse_keys(key)
    right = 0
    for credential in Credential.objects.with_context().iterator():
        try:
            text = credential.open(credential.destination)
        except UnreadableError:
            continue
        right += text == secret_value(credential.data_source_id, credential.field)
    return len(ids) * len(FIELDS) - right


def report(number: int, seconds: float, load: Load, wrong: int) -> None:
    """Print the results."""
    print(f"\n{number} secrets in {seconds:.1f} s, {KILLS} kills included. Requests:")
    for name, count in load.counts.items():
        print(f"{count:>10}  {name}")
    print(f"{len(load.failures):>10}  failed")
    for failure in load.failures[:10]:
        print(f"            {failure}")
    print(f"{wrong:>10}  secrets that the new key does not open with their original value")


if __name__ == "__main__":
    sys.exit(main())
