"""gunicorn's configuration with short timeouts and small limits, for tests that exceed them."""

from rivergen.gunicorn import *  # noqa: F403
from rivergen.web_worker import EnvelopeWorker


class ImpatientWorker(EnvelopeWorker):
    """Time out after a second instead of half a minute."""

    request_seconds = 1.0
    send_seconds = 1
    arriving_max_bytes = 100_000


worker_class: type[EnvelopeWorker] = ImpatientWorker  # type: ignore[no-redef]
