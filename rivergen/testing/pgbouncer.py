"""PgBouncer in transaction mode in front of a server, configured as in docs/scaling.md."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import chown
from tempfile import TemporaryDirectory

import psycopg

from rivergen.testing.services import free_port

PROGRAM = "/usr/sbin/pgbouncer"
SYSTEM_USER = "postgres"  # PgBouncer refuses to run as root
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 10
CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port} user={user} connect_query='{limits}'

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
ignore_startup_parameters = options
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 1000
query_wait_timeout = 5
server_login_retry = 1
tcp_user_timeout = 5000
tcp_keepidle = 5
tcp_keepintvl = 1
tcp_keepcnt = 5
"""
LIMITS = "SET lock_timeout = 2000; SET idle_in_transaction_session_timeout = 20000"


@contextmanager
def pgbouncer(
    server_port: int, database: str, pool_size: int, user: str = "postgres"
) -> Iterator[str]:
    """Run PgBouncer with `pool_size` connections to a server, and yield the URL of a database."""
    port = free_port()
    url = f"postgresql://postgres@127.0.0.1:{port}/{database}"
    with TemporaryDirectory(prefix="rivergen-") as folder:
        path = Path(folder) / "pgbouncer.ini"
        text = CONFIGURATION.format(
            server_port=server_port, port=port, pool_size=pool_size, user=user, limits=LIMITS
        )
        path.write_text(text)
        is_root = os.geteuid() == 0
        if is_root:
            chown(folder, SYSTEM_USER)
        process = subprocess.Popen(
            [PROGRAM, "--quiet", str(path)],
            user=SYSTEM_USER if is_root else None,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until_ready(url)
            yield url
        finally:
            process.kill()
            process.wait()


def wait_until_ready(url: str) -> None:
    """Wait until a client can connect through PgBouncer. Raises OperationalError on a timeout."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(POLL_SECONDS)
