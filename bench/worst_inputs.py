"""`python -m bench.worst_inputs`: what the worst known input of each parser costs.

Each is sent the way a client sends it, through the WSGI application, beside a harmless input of the
same size. CPU is that of this process, the best of several requests; memory is the peak of Python's
allocations during one request. Exits with 1 if an input takes more than 20 times as much as the
harmless one, of either.
"""

import argparse
import gc
import logging
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults

from bench import worst_texts as texts
from rivergen.testing.services import prepare

RATIO_MAX = 20
RUNS = 7
RUN_SECONDS = 2  # then no further runs
ROW = "{:30} {:42} {:>9} {:>9} {:>9} {:>6} {:>8} {:>8} {:>6}"


class Cost(NamedTuple):
    """CPU time in milliseconds, and memory in MiB."""

    cpu: float
    memory: float


class Parser(NamedTuple):
    """A parser, the function that gives it a text, and its inputs, each with a name in words."""

    name: str
    parse: Callable[[str], object]
    harmless: tuple[str, str]
    worst: dict[str, str]


def main() -> None:
    """Print a table of all parsers and inputs; exit with 1 if a ratio is too large."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="", help="a part of the parsers' names")
    only: str = arguments.parse_args().only
    with TemporaryDirectory() as folder:
        prepare("rivergen_worst_inputs", SECRETS_ROOT=folder)
        logging.disable(logging.WARNING)
        parsers = [*parsers_of_requests(), *parsers_of_other_texts()]
        parsers = [parser for parser in parsers if only in parser.name]
        gc.freeze()  # as the server does: the collector passes by what was imported
        print(ROW.format("parser", "input", "bytes", "CPU ms", "harmless", "ratio", "MiB", "", ""))
        too_large = [name for parser in parsers for name in measure(parser)]
    if too_large:
        sys.exit(f"More than {RATIO_MAX} times the harmless input: {', '.join(too_large)}.")


def measure(parser: Parser) -> Iterator[str]:
    """Print a row for each input of a parser; yield the names of those that cost too much."""
    words, text = parser.harmless
    harmless = cost_of(parser.parse, text)
    print(f"{parser.name}: harmless is {words}, {len(text.encode()):,} bytes")
    for name, worst_text in parser.worst.items():
        worst = cost_of(parser.parse, worst_text)
        ratios = worst.cpu / harmless.cpu, worst.memory / harmless.memory
        print(
            ROW.format(
                *("", name, f"{len(worst_text.encode()):,}"),
                *(f"{worst.cpu:.2f}", f"{harmless.cpu:.2f}", f"{ratios[0]:.1f}"),
                *(f"{worst.memory:.1f}", f"{harmless.memory:.1f}", f"{ratios[1]:.1f}"),
            ),
            flush=True,
        )
        if max(ratios) > RATIO_MAX:
            yield f"{parser.name}: {name}"


def cost_of(parse: Callable[[str], object], text: str) -> Cost:
    """Return the best CPU time of several runs, and the peak memory of one more."""
    best = float("inf")
    end = time.monotonic() + RUN_SECONDS
    for run in range(RUNS):
        gc.collect()
        started = time.process_time()
        parse(text)
        best = min(best, time.process_time() - started)
        if run and time.monotonic() > end:
            break
    gc.collect()
    tracemalloc.start()
    parse(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(best * 1000, peak / 1024**2)


def send(method: str, path: str, body: str = "", **environ: str) -> None:
    """Send a request through the WSGI application. Raises AssertionError if the answer is a 5xx."""
    from rivergen.wsgi import application

    path, _, query = path.partition("?")
    data = body.encode()
    request: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(data)),
        "HTTP_HOST": "127.0.0.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": BytesIO(data),
        **environ,
    }
    setup_testing_defaults(request)
    statuses: list[str] = []
    response: Any = application(request, lambda status, *others: statuses.append(status))
    answer = b"".join(response)
    response.close()
    assert statuses[0] < "5", (statuses, answer[:500])


def make_caller() -> tuple[str, int]:
    """Return the Authorization header of an admin, and the id of a data source."""
    from datasources.models import DataSource
    from organizations.models import Organization, Role, User
    from organizations.sign_in.tokens import issue_tokens

    admin = User.objects.create_user("admin")
    organization = Organization.objects.create(name="Acme", slug="acme")
    organization.add_member(admin, Role.ADMIN)
    data_source = DataSource.objects.create(
        organization=organization, name="Orders", type="bigquery"
    )
    return f"Bearer {issue_tokens(admin)['access_token']}", data_source.pk


def make_sources(data_source_id: int, metadata: Any) -> list[int]:
    """Create 200 data sources beside another one; return their ids."""
    from datasources.models import DataSource

    workspace = DataSource.objects.get(pk=data_source_id).workspace
    first = DataSource.objects.count()
    made = DataSource.objects.bulk_create(
        DataSource(workspace=workspace, name=f"Source {number}", type="csv", metadata=metadata)
        for number in range(first, first + 200)
    )
    return [data_source.pk for data_source in made]


def parsers_of_requests() -> Iterator[Parser]:
    """Yield the parsers that requests reach: first those that nobody has to sign in for."""
    token = "/api/v1/auth/token"
    yield Parser(
        "JSON, not signed in", lambda text: send("POST", token, text), *texts.json_bodies()
    )
    for name, header, (harmless, worst) in texts.headers():
        yield Parser(
            f"{name}, not signed in",
            lambda text, header=header: send("POST", token, "{}", **{header: text}),  # type: ignore[misc]
            harmless,
            worst,
        )
    for name, media_type, (harmless, worst) in texts.forms():
        yield Parser(
            f"{name}, not signed in",
            lambda text, media_type=media_type: send(  # type: ignore[misc]
                "POST",
                "/admin/login/",
                text,
                CONTENT_TYPE=media_type,
                HTTP_COOKIE=f"csrftoken={'a' * 32}",
            ),
            harmless,
            worst,
        )
    yield from parsers_of_members()


def parsers_of_members() -> Iterator[Parser]:
    """Yield the parsers that only a member of an organization reaches."""
    authorization, data_source_id = make_caller()
    path = f"/api/v1/data-sources/{data_source_id}"

    def sender(method: str, path: str, **environ: str) -> Callable[[str], None]:
        return lambda text: send(method, path, text, HTTP_AUTHORIZATION=authorization, **environ)

    patch = sender("PATCH", f"{path}?dry_run=true")
    merge_patch = sender(
        "PATCH", f"{path}?dry_run=true", CONTENT_TYPE="application/merge-patch+json"
    )
    yield Parser("fields of a data source", patch, *texts.fields())
    yield Parser("metadata", patch, *texts.metadata())
    yield Parser("merge patch of metadata", merge_patch, *texts.merge_patches())
    many = sender("PATCH", "/api/v1/data-sources?atomic=false")
    yield Parser("many updates", many, *texts.updates(make_sources(data_source_id, {})))
    shapes: tuple[Any, ...] = ({"a": "x" * 65_000}, {"a": [[]] * 21_600})
    large = [make_sources(data_source_id, metadata) for metadata in shapes]
    yield Parser("many updates of large rows", many, *texts.updates_of_large(*large))
    yield Parser("connection string", patch, *texts.connection_strings())
    yield Parser("secrets", sender("PATCH", f"{path}/credentials"), *texts.secrets())
    apply = "/api/v1/data-sources/apply?dry_run=true"
    yaml = sender("POST", apply, CONTENT_TYPE="application/yaml")
    yield Parser("YAML", yaml, *texts.yaml_documents())
    yield Parser("declarations in JSON", sender("POST", apply), *texts.declarations())

    def get_list(query: str) -> None:
        send("GET", f"/api/v1/data-sources?{query}", HTTP_AUTHORIZATION=authorization)

    yield Parser("query string", get_list, *texts.queries())
    for name, method, header, (harmless, worst) in texts.member_headers():
        yield Parser(
            name,
            lambda text, method=method, header=header: send(  # type: ignore[misc]
                method,
                path,
                '{"description": ""}' if method == "PATCH" else "",
                HTTP_AUTHORIZATION=authorization,
                **{header: text},
            ),
            harmless,
            worst,
        )


def parsers_of_other_texts() -> Iterator[Parser]:
    """Yield the parsers of what a worker reads: messages of a sandbox, and types of a server."""
    import json

    from datasources.connections.configuration import Configuration
    from datasources.schemas.reading.common_types import common_type
    from datasources.schemas.reading.sandbox import Reading

    def take(text: str) -> None:
        reading = Reading(Configuration(type="postgresql"))
        for line in text.splitlines():
            reading.take(json.loads(line))

    def type_of(text: str) -> None:
        common_type(text, {})

    yield Parser("messages of a sandbox", take, *texts.messages())
    yield Parser("type of a column", type_of, *texts.column_types())


if __name__ == "__main__":
    main()
