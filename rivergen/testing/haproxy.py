"""HAProxy as deploy/haproxy.cfg sets it up, in front of a web server."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rivergen.testing.services import free_port

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "haproxy.cfg"
BINARY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
IS_MISSING = BINARY is None and not os.environ.get("CI")
PATIENCE_SECONDS = 20


@contextmanager
def haproxy(
    web_port: int, timeout: str = "30s", tls_proxy: str = "127.255.255.255", origins: str = ""
) -> Iterator[tuple[int, Path]]:
    """Run HAProxy in front of a web server; yield its port and its log.

    `timeout` replaces the time that a request may take to arrive; `tls_proxy` is the address whose
    X-Forwarded-Proto is believed, `origins` the pages that may read its own failures.
    """
    if BINARY is None:
        raise SystemExit("haproxy is not installed: apt-get install haproxy")
    port = free_port()
    with TemporaryDirectory() as folder:
        configuration, log = Path(folder) / "haproxy.cfg", Path(folder) / "haproxy.log"
        configuration.write_text(CONFIGURATION.read_text().replace("30s", timeout))
        variables = {
            "CORS_ALLOWED_ORIGINS": origins,
            "LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "TLS_PROXY": tls_proxy,
            "WEB_ADDRESS": f"127.0.0.1:{web_port}",
        }
        with log.open("wb") as file:
            process = subprocess.Popen(
                [BINARY, "-db", "-f", configuration],
                env=os.environ | variables,
                stdout=file,
                stderr=file,
            )
        try:
            wait_until_listening(process, port)
            yield port, log
        finally:
            process.terminate()
            process.wait()


def wait_until_listening(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Return once the port accepts connections. Raises AssertionError if the process ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert process.poll() is None and time.monotonic() < deadline
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
