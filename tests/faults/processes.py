"""Faults of the web processes and of their machines' clocks."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.client import HTTPConnection

import psutil

from rivergen.local.run import BASE_DIR, wait_until_ready
from rivergen.testing.haproxy import haproxy
from rivergen.testing.services import free_port
from tests.faults.clients import FIELDS, TIMEOUT_SECONDS, Client, Ledger, load
from tests.faults.outcomes import Outcome
from tests.faults.service import PASSWORD, USERNAME, Service, web

IN_FLIGHT = 100
LINGERING = 40
CLIENTS_OF_EACH = 2
ACKNOWLEDGED = 50
RESPONSES = 500
# Runs gunicorn with Python's clocks shifted by the seconds in the first argument.
SHIFTED = """
import datetime, sys, time_machine
from gunicorn.app.wsgiapp import run

shift = datetime.timedelta(seconds=float(sys.argv.pop(1)))
time_machine.travel(datetime.datetime.now(datetime.UTC) + shift, tick=True).start()
run()
"""


def terminate(service: Service, cycles: int) -> Outcome:
    """Stop the server (SIGTERM) while many requests are in flight."""
    ledger = Ledger()
    for _ in range(cycles):
        clients = [
            service.client(ledger, pk, "description")
            for pk in service.pks * (IN_FLIGHT // len(service.pks))
        ]
        with web(service) as server:
            # Use each connection once: gunicorn resets connections not accepted yet.
            for client in clients:
                client.work()
            for client in clients[::2]:
                client.headers["Connection"] = "close"  # the others keep alive
            for client in clients:
                client.send()
            server.send_signal(signal.SIGTERM)
            for client in clients:
                client.receive()
    outcome = Outcome.of(ledger, cycles=cycles, recovered=[], lost=service.count_lost(ledger))
    if ledger.answers != {200: 2 * cycles * IN_FLIGHT}:
        outcome.problems.append("not every request got 200")
    return outcome


def kill(service: Service, cycles: int) -> Outcome:
    """Kill web processes while clients set several fields at once; no row may get only a part."""
    ledger, recovered, mixed = Ledger(), [], 0
    clients = [service.client(ledger, pk, *FIELDS) for pk in service.pks * CLIENTS_OF_EACH]
    with web(service) as server, load(clients), service.connect() as connection:
        for _ in range(cycles):
            ledger.wait_for_answers(200, ACKNOWLEDGED)
            victim = random.choice(psutil.Process(server.pid).children())
            victim.kill()
            psutil.wait_procs([victim])
            recovered.append(ledger.wait_for_good(time.monotonic()))
            rows = connection.execute(f"SELECT {', '.join(FIELDS)} FROM datasources_datasource")
            mixed += sum(len({*row}) > 1 for row in rows)
    outcome = Outcome.of(
        ledger,
        cycles=cycles,
        recovered=recovered,
        lost=service.count_lost(ledger),
        may_drop=True,
    )
    if mixed:
        outcome.problems.append(f"{mixed} rows have only a part of a change")
    return outcome


def linger(service: Service, cycles: int) -> Outcome:
    """Keep connections open that the proxy has closed, while other clients send requests."""
    ledger = Ledger()
    with (
        web(service, {"WEB_CONCURRENCY": "1"}),
        haproxy(service.port) as (proxy_port, _),
        ExitStack() as held,
    ):
        front = replace(service, port=proxy_port)
        for _ in range(cycles):
            lingering = [
                front.client(ledger, service.pks[0], "description") for _ in range(LINGERING)
            ]
            for client in lingering:
                client.headers["Connection"] = "close"
                client.connection.connect()
                # The duplicate keeps the connection open when the client closes its own descriptor.
                held.enter_context(client.connection.sock.dup())
                client.send()
            for client in lingering:
                client.receive()
            front.client(ledger, service.pks[0], "description").work()
    return Outcome.of(ledger, cycles=cycles, recovered=[], lost=service.count_lost(ledger))


def break_output(service: Service, cycles: int) -> Outcome:
    """Close the reading end of the pipe that the server logs to."""
    ledger = Ledger()
    for _ in range(cycles):
        reading, writing = os.pipe()
        with web(service, log=writing), service.under_load(ledger):
            os.close(writing)
            os.close(reading)
            ledger.wait_for_answers(200, RESPONSES)
    return Outcome.of(ledger, cycles=cycles, recovered=[], lost=service.count_lost(ledger))


def shift_clocks(service: Service, cycles: int) -> Outcome:
    """Serve with two clocks, one 5 minutes fast and one 5 minutes slow.

    Clients sign in at one server, and send their changes to the other.
    """
    ledger = Ledger()
    ports = (free_port(), free_port())
    with shifted(ports[0], 300), shifted(ports[1], -300):
        for _ in range(cycles):
            clients: list[Client] = []
            for here, there in itertools.permutations(ports):
                token = sign_in(here)
                for pk in service.pks:
                    name = FIELDS[len(clients) % len(FIELDS)]
                    clients.append(Client(ledger, there, token, pk, [name]))
            with load(clients):
                ledger.wait_for_answers(200, RESPONSES)
    return Outcome.of(ledger, cycles=cycles, recovered=[], lost=service.count_lost(ledger))


@contextmanager
def shifted(port: int, seconds: int) -> Iterator[None]:
    """Serve at a port with a clock that is `seconds` fast, until the block ends."""
    command = [sys.executable, "-c", SHIFTED, str(seconds), "--log-level", "critical"]
    process = subprocess.Popen(
        [*command, "-c", "python:rivergen.server.gunicorn", "rivergen.wsgi"],
        cwd=BASE_DIR,
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until_ready(process, port)
        yield
    finally:
        process.terminate()
        process.wait()


def sign_in(port: int) -> str:
    """Return an access token from the server at a port."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    body = json.dumps({"username": USERNAME, "password": PASSWORD})
    connection.request("POST", "/api/v1/auth/token", body, {"Content-Type": "application/json"})
    token: str = json.load(connection.getresponse())["data"]["access_token"]
    return token
