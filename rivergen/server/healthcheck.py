"""The health check of the web's container: exits with 1 unless the web server answers.

Run as `python -m rivergen.server.healthcheck`, as the image has no HTTP client such as curl.
"""

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

TIMEOUT_SECONDS = 3


def is_alive() -> bool:
    """Return whether `/healthz` answers a request for the first of ALLOWED_HOSTS."""
    host = os.environ.get("ALLOWED_HOSTS", "").partition(",")[0].strip(" .*") or "127.0.0.1"
    port = int(os.environ.get("PORT") or 8000)
    client = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        client.request("GET", "/healthz", headers={"Host": host})
        return client.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        client.close()


if __name__ == "__main__":
    sys.exit(not is_alive())
