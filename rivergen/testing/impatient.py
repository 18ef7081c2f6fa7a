"""gunicorn's configuration for tests of what happens when time or room is up: both are short."""

from rivergen.gunicorn import *  # noqa: F403
from rivergen.web_worker import EnvelopeWorker


class ImpatientWorker(EnvelopeWorker):
    """Ends soon what the real one ends after half a minute."""

    request_seconds = 1.0
    send_seconds = 1
    arriving_max_bytes = 100_000


worker_class: type[EnvelopeWorker] = ImpatientWorker  # type: ignore[no-redef]
