"""Check that `allow_disjoint` loses nothing and refuses only what overlaps.

`python -m bench.disjoint_writers` runs the web server on a separate database. 8 clients update one
data source at the same time, 1,000 rounds each. Each client owns some fields and sends the `ETag`
of its own last response with `allow_disjoint=true`; in every tenth round it also writes the fields
of its neighbor. Afterwards each response is compared with the history.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from threading import Barrier
from typing import Any

from rivergen.local.run import obey_signals
from rivergen.testing.gunicorn import gunicorn
from rivergen.testing.services import prepare

# What each writer owns, as a function of a number that is used once.
OWNED: tuple[Callable[[int], dict[str, Any]], ...] = (
    lambda number: {"name": f"Name {number}"},
    lambda number: {"description": f"Description {number}"},
    lambda number: {"database_name": f"database{number}", "schema_name": f"schema{number}"},
    lambda number: {"file_path": f"files/{number}.csv"},
    lambda number: {"query_timeout": 1 + number},
    lambda number: {"metadata": {"number": number}},
    lambda number: {"tags": [f"tag{number}", "production"]},
    lambda number: {"host": f"host{number}.example.com", "port": 1_000 + number},
)
INTRUSION_EVERY = 10
HTTP_TIMEOUT_SECONDS = 60
FAULTS_SHOWN = 10

Send = Callable[[dict[str, Any], int], tuple[int, dict[str, Any], int]]
"""Sends an update of a version; returns the status, the body and the version in the `ETag`."""


@dataclass(frozen=True)
class Answer:
    """An update of `named`, the version that was sent, and the response to it."""

    body: dict[str, Any]
    named: int
    status: int
    current: int
    overlapping: frozenset[str]


def main() -> None:
    """Run the writers and print the figures; exits with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1_000, help="default: 1000")
    options = parser.parse_args()
    prepare("rivergen_disjoint")
    token, pk = make_source()
    with gunicorn() as (_, port):
        started_at = time.perf_counter()
        answers = run_writers([sender(port, token, pk) for _ in OWNED], options.rounds)
        seconds = time.perf_counter() - started_at
    faults = faults_of(answers, *read_source(pk))
    passed = [answer for answer in answers if answer.status == 200]
    behind = sum(answer.current - 1 > answer.named for answer in passed)
    print(
        f"{len(OWNED)} writers, {options.rounds:,} rounds: {len(answers):,} updates in "
        f"{seconds:.0f} s, {len(passed):,} stored ({behind:,} from an earlier version), "
        f"{len(answers) - len(passed):,} refused, {len(faults):,} wrong"
    )
    print(*faults[:FAULTS_SHOWN], sep="\n", end="\n" if faults else "")
    raise SystemExit(bool(faults))


def run_writers(
    senders: list[Send], rounds: int, *, done: Callable[[], object] = lambda: None
) -> list[Answer]:
    """Run one writer for each sender, all at once; return the answers to all of them.

    Each writer calls `done` at the end.
    """
    numbers = itertools.count()
    start = Barrier(len(senders))

    def write(index: int) -> list[Answer]:
        answers: list[Answer] = []
        try:
            start.wait()
            known = 1
            for turn in range(rounds):
                body = OWNED[index](next(numbers))
                if turn % INTRUSION_EVERY == INTRUSION_EVERY - 1:
                    body |= OWNED[(index + 1) % len(OWNED)](next(numbers))
                status, content, current = senders[index](body, known)
                conflict = content.get("error", {}).get("conflict", {})
                overlapping = frozenset(conflict.get("overlapping", ()))
                answers.append(Answer(body, known, status, current, overlapping))
                known = current
        finally:
            done()
        return answers

    with ThreadPoolExecutor(len(senders)) as pool:
        return [*itertools.chain(*pool.map(write, range(len(senders))))]


def faults_of(
    answers: list[Answer], row: Mapping[str, Any], history: Mapping[int, Mapping[str, Any]]
) -> list[str]:
    """Return a sentence for each answer that the history does not bear out, and for each gap.

    `row` has the stored values; `history` maps each version to its changes.
    """
    faults = [fault for answer in answers if (fault := fault_of(answer, history))]
    stored = 1 + sum(answer.status == 200 for answer in answers)
    if [*sorted(history)] != [*range(1, stored + 1)] or row["version"] != stored:
        faults.append(f"{stored} versions were acknowledged; the history has {len(history)}.")
    last = {
        name: change["to"] for _, made in sorted(history.items()) for name, change in made.items()
    }
    faults += [
        f"{name} is {row[name]}, the history says {last[name]}."
        for name in itertools.chain(*(own(0) for own in OWNED))
        if row[name] != last[name]
    ]
    return faults


def fault_of(answer: Answer, history: Mapping[int, Mapping[str, Any]]) -> str:
    """Return what is wrong with an answer; "" if it is right."""
    is_stored = answer.status == 200
    if not is_stored and answer.status != 412:
        return f"{answer.body} of version {answer.named}: {answer.status}."
    end = answer.current if is_stored else answer.current + 1
    changed = {name for version in range(answer.named + 1, end) for name in history[version]}
    # The only writer of the destination writes host and port together, so names suffice.
    overlapping = answer.body.keys() & changed
    if is_stored and overlapping:
        return f"{overlapping} had been changed since version {answer.named}, and was overwritten."
    if is_stored:
        made = history[answer.current]
        lost = [name for name, value in answer.body.items() if made[name]["to"] != value]
        return f"{lost} of version {answer.current} is lost." if lost else ""
    if not overlapping:
        return f"{answer.body} of version {answer.named} was refused; nothing had changed in it."
    if overlapping != answer.overlapping:
        return f"{overlapping} had changed; the response said {set(answer.overlapping)}."
    return ""


def sender(port: int, token: str, pk: int) -> Send:
    """Return a function that sends updates over a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=HTTP_TIMEOUT_SECONDS)
    path = f"/api/v1/data-sources/{pk}?allow_disjoint=true"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return partial(send, connection, path, headers)


def send(
    connection: HTTPConnection, path: str, headers: dict[str, str], body: Any, version: int
) -> tuple[int, dict[str, Any], int]:
    """Send an update of a version; return the status, the body and the version in the `ETag`."""
    connection.request("PATCH", path, json.dumps(body), {**headers, "If-Match": f'"{version}"'})
    response = connection.getresponse()
    content = json.loads(response.read())
    etag = response.getheader("ETag") or f'"{version}"'
    return response.status, content, int(etag.strip('"'))


def make_source() -> tuple[str, int]:
    """Create a data source; return a token of its editor, and its id."""
    from rest_framework_simplejwt.tokens import AccessToken

    from datasources.models import DataSource
    from organizations.models import Organization, Role, User

    organization = Organization.objects.create(name="Bench", slug="bench")
    editor = User.objects.create_user("bench")
    organization.add_member(editor, Role.EDITOR)
    data_source = DataSource.objects.create(
        organization=organization, name="Source", type="postgresql", host="db.example.com"
    )
    return str(AccessToken.for_user(editor)), data_source.pk


def read_source(pk: int) -> tuple[Mapping[str, Any], Mapping[int, Any]]:
    """Return the stored values of a data source, and its changes by version."""
    from datasources.models import DataSource, DataSourceRevision

    revisions = DataSourceRevision.objects.filter(data_source_id=pk)
    row = DataSource.objects.filter(pk=pk).values().get()
    return row, dict(revisions.values_list("version", "changes"))


if __name__ == "__main__":
    obey_signals()  # without it the server would outlive this process
    main()
