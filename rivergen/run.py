"""`make run`: the whole service on one machine, with a demo organization, until Ctrl-C."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from urllib.error import URLError
from urllib.request import urlopen

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

BASE_DIR = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.05


def main() -> int:
    """Migrate, serve, print a call to try, and wait; the exit status is the server's."""
    os.environ.setdefault("SECRET_KEY", read_or_make_key(BASE_DIR / ".local" / "secret_key"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rivergen.settings")
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, interrupt)
    django.setup()
    from django.conf import settings

    refuse_taken_port(settings.PORT)
    call_command("migrate", verbosity=0)
    try:
        with serve(settings.PORT) as web:
            call_command("demo")
            print("\nCtrl-C stops everything.", flush=True)
            return web.wait()
    except KeyboardInterrupt:
        return 0


@contextmanager
def serve(port: int, log: int | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """Start the web server, give it once it answers, and stop it when the block ends."""
    command = [sys.executable, "-m", "gunicorn", "--log-level", "warning"]
    command += ["-c", "python:rivergen.gunicorn", "rivergen.wsgi"]
    # In a session of its own Ctrl-C does not reach it: of two signals at once, one from the
    # terminal and one from below, its workers now and then hang for half a minute.
    web = subprocess.Popen(command, cwd=BASE_DIR, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_ready(web, port)
        yield web
    finally:
        web.terminate()
        web.wait()


def read_or_make_key(path: Path) -> str:
    """Give the secret key of this machine, made at the first call and kept in a private file."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(50))
    return path.read_text().strip()


def interrupt(signum: int, frame: FrameType | None) -> None:
    """Treat a SIGTERM, and a terminal that is closed, like Ctrl-C."""
    raise KeyboardInterrupt


def refuse_taken_port(port: int) -> None:
    """Raise ImproperlyConfigured if something else listens on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ImproperlyConfigured(
                f"Port {port} is taken. Choose another one: PORT={port + 1} make run"
            ) from None


def wait_until_ready(web: "subprocess.Popen[bytes]", port: int) -> None:
    """Return once the server answers `/readyz`; exit with its status if it ends before that."""
    while web.poll() is None:
        try:
            urlopen(f"http://127.0.0.1:{port}/readyz").close()
            return
        except URLError:
            time.sleep(POLL_SECONDS)
    sys.exit(web.returncode)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ImproperlyConfigured as error:
        sys.exit(f"Not configured: {error}")
