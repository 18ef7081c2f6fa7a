"""`python -m bench.rotation`: change the key of many secrets under load, killing it five times.

Seals secrets by an old key, serves, and lets clients update and read, while
`manage.py rotate_encryption_key` runs, is killed, and runs again. In the end every secret must open
by the new key alone, with the value it had. Exits with 1 if anything failed.
"""

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

from rivergen.encryption_keys import generate_key, parse_keys
from rivergen.local.run import BASE_DIR, serve
from rivergen.testing.services import prepare

FIELDS = ("password", "ssh_password")
KILLS = 5
BATCH_SIZE = 500
SOURCES_PER_INSERT = 1_000
# Those that the writers move about; all others keep their secrets, whatever happens.
BUSY_SOURCES = 50
HTTP_TIMEOUT_SECONDS = 30


class Load:
    """Clients that work until they are told to stop, and what came of it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.is_over = threading.Event()
        self.lock = threading.Lock()
        self.threads: list[threading.Thread] = []

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Repeat `work` in a thread of its own; what it raises is a failure."""

        def repeat() -> None:
            while not self.is_over.is_set():
                try:
                    work()
                except Exception as error:
                    self.failures.append(f"{name}: {error!r}")
                with self.lock:
                    self.counts[name] += 1

        self.threads.append(threading.Thread(target=repeat))
        self.threads[-1].start()

    def stop(self) -> None:
        """Let every client finish what it does."""
        self.is_over.set()
        for thread in self.threads:
            thread.join()


class Client:
    """One keep-alive connection, with the token of a user."""

    def __init__(self, port: int, token: str) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_SECONDS)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: Any = None) -> None:
        """Send a request. Raises RuntimeError unless it succeeds."""
        data = None if body is None else json.dumps(body)
        self.connection.request(method, f"/api/v1/data-sources{path}", data, self.headers)
        response = self.connection.getresponse()
        text = response.read().decode()
        if response.status >= 300:
            raise RuntimeError(f"{method} {path}: {response.status} {text}")


def main() -> int:
    """Prepare, rotate under load, verify and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secrets", type=int, default=100_000, help="default: 100000")
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
    """Create data sources with secrets sealed by `key`; give tokens by role, and the ids."""
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
        made = DataSource.objects.bulk_create(
            DataSource(organization=organization, name=f"{n}", type="postgresql", host="db")
            for n in range(start, min(start + SOURCES_PER_INSERT, number))
        )
        ids += [data_source.pk for data_source in made]
        credentials = [
            Credential(data_source=data_source, field=field, set_at=timezone.now())
            for data_source in made
            for field in FIELDS
        ]
        for credential in credentials:
            text = value(credential.data_source_id, credential.field)
            credential.seal(text, credential.data_source.destination)
        Credential.objects.bulk_create(credentials)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE datasources_datasource SET credentials_status = 'set'")
    settings.ENCRYPTION_KEYS = all_keys
    return tokens, ids


def value(data_source_id: int, field: str) -> str:
    """Give the secret of a data source."""
    return f"the {field} of {data_source_id}"


def start_clients(load: Load, port: int, tokens: dict[str, str], ids: list[int]) -> None:
    """Let an editor and an admin update, and others read, over HTTP and in the shell."""
    from datasources.models import DataSource

    busy, quiet = ids[:BUSY_SOURCES], ids[BUSY_SOURCES:]

    def opens_secrets() -> None:
        data_source = DataSource.objects.get(pk=random.choice(quiet))
        opened = data_source.credentials.open()
        if opened != {field: value(data_source.pk, field) for field in FIELDS}:
            raise RuntimeError(f"The secrets of {data_source.pk} are wrong.")

    def moves(client: Client) -> Callable[[], None]:
        hosts = (f"host-{number}" for number in itertools.count())
        return lambda: client.call("PATCH", f"/{random.choice(busy)}", {"host": next(hosts)})

    def confirms(client: Client) -> Callable[[], None]:
        return lambda: client.call("POST", f"/{random.choice(busy)}/credentials/confirm")

    def enters(client: Client) -> Callable[[], None]:
        def enter() -> None:
            pk = random.choice(busy)
            secret = {"ssh_password": value(pk, "ssh_password")}
            client.call("PATCH", f"/{pk}/credentials", secret)

        return enter

    def updates(client: Client) -> Callable[[], None]:
        return lambda: client.call("PATCH", f"/{random.choice(quiet)}", {"max_retries": 5})

    def reads(client: Client) -> Callable[[], None]:
        return lambda: client.call("GET", f"/{random.choice(ids)}/credentials")

    load.start("secrets opened", opens_secrets)
    for name, role, work in (
        ("hosts moved by an editor", "editor", moves),
        ("hosts moved by an admin", "admin", moves),
        ("confirmations by an admin", "admin", confirms),
        ("secrets entered", "editor", enters),
        ("other updates", "editor", updates),
        ("credentials read", "editor", reads),
    ):
        load.start(name, work(Client(port, tokens[role])))


def rotate(number: int) -> float:
    """Run the command, kill it five times on its way, and let it finish; give the seconds."""
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
            sys.exit("The command ended before it could be killed; take more secrets.")
        rest = Credential.objects.of_other_keys().count()
        print(f"Killed; {rest} secrets still use the old key.", flush=True)
    subprocess.run(command, cwd=BASE_DIR, check=True)
    return time.monotonic() - started_at


def count_wrong(ids: list[int], key: str) -> int:
    """Open every secret by the new key alone; count those that are lost or not as they were."""
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
        right += text == value(credential.data_source_id, credential.field)
    return len(ids) * len(FIELDS) - right


def report(number: int, seconds: float, load: Load, wrong: int) -> None:
    """Print what was seen."""
    print(f"\n{number} secrets in {seconds:.1f} s, {KILLS} kills included. Meanwhile:")
    for name, count in load.counts.items():
        print(f"{count:>10}  {name}")
    print(f"{len(load.failures):>10}  of these failed")
    for failure in load.failures[:10]:
        print(f"            {failure}")
    print(f"{wrong:>10}  secrets do not open by the new key alone, or have another value")


if __name__ == "__main__":
    sys.exit(main())
