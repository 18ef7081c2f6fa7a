"""How gunicorn serves: `gunicorn -c python:rivergen.gunicorn rivergen.wsgi`."""

from rivergen import settings

bind = f"{settings.BIND_ADDRESS}:{settings.PORT}"
workers = settings.WEB_CONCURRENCY
worker_class = "gthread"
threads = 8
# Load once and fork: the workers share the memory of the code.
preload_app = True
keepalive = 75  # seconds; longer than a proxy keeps its side open
graceful_timeout = 30
