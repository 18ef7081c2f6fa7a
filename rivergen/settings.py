"""Django settings. The environment is read here and nowhere else; README lists the variables."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

from rivergen.egress.rules import Network, Rule, parse_network, parse_rules
from rivergen.encryption_keys import parse_keys
from rivergen.local import embedded_postgres

BASE_DIR = Path(__file__).resolve().parent.parent

# Set by pytest itself. A fresh checkout must be able to run the tests with no environment.
TESTING = "PYTEST_VERSION" in os.environ
TEST_SECRET_KEY = "django-insecure-for-tests-only-and-refused-everywhere-else"
SECRET_KEY_MIN_LENGTH = 50
TEST_ENCRYPTION_KEY = bytes(range(32))
# A machine that keeps silent for so long is out of reach.
DATABASE_SILENCE_SECONDS = 5
# A replica is hardly waited for: the primary has all that it has. libpq takes no less.
REPLICA_SILENCE_SECONDS = 2


def read_bool(name: str) -> bool:
    """Read a switch that is off unless set: 1, true, yes, on or 0, false, no, off."""
    value = os.environ.get(name, "").strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0, not {value!r}.")


def read_number(name: str, default: int, low: int, high: int) -> int:
    """Read a whole number within bounds."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
        raise ImproperlyConfigured(f"{name} must be a number from {low} to {high}, not {text!r}.")
    return int(text)


def read_rate(name: str, default: str) -> tuple[int, int]:
    """Read a rate such as 60/min as (requests, seconds); the units are s, min, h and day."""
    text = os.environ.get(name) or default
    number, _, unit = text.partition("/")
    seconds = {"s": 1, "min": 60, "h": 3600, "day": 86_400}.get(unit)
    if not (number.isascii() and number.isdecimal()) or int(number) < 1 or seconds is None:
        raise ImproperlyConfigured(f"{name} must be a rate such as {default}, not {text!r}.")
    return int(number), seconds


def read_choice(name: str, choices: tuple[str, ...]) -> str:
    """Read one of a few words, the first by default."""
    word = os.environ.get(name) or choices[0]
    if word not in choices:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(choices)}, not {word!r}.")
    return word


def read_list(name: str, default: list[str]) -> list[str]:
    """Read a comma-separated list."""
    return [item.strip() for item in os.environ.get(name, "").split(",") if item.strip()] or default


def read_egress_rules(name: str) -> list[Rule]:
    """Read a comma-separated list of networks, IP addresses and host names."""
    try:
        return parse_rules(os.environ.get(name, ""))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is malformed: {error}.") from None


def read_networks(name: str, default: str) -> list[Network]:
    """Read a comma-separated list of networks and IP addresses."""
    items = read_list(name, default.split(","))
    try:
        return [parse_network(item) for item in items]
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be networks and IP addresses.") from None


def read_token(name: str) -> str | None:
    """Read what some caller has to bring; refuse what can be guessed."""
    token = os.environ.get(name) or None
    if token is not None and re.fullmatch(r"[A-Za-z0-9._~+/=-]{16,}", token) is None:
        raise ImproperlyConfigured(f"{name} must be 16 letters and digits or more.")
    return token


def read_storage_url(name: str) -> tuple[str, str] | None:
    """Read s3://bucket/prefix as (bucket, what object keys start with); unset means None."""
    url = os.environ.get(name)
    if not url:
        return None
    match = re.fullmatch(
        r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[\w.=-]+)*)/?", url, re.ASCII
    )
    if match is None or {".", ".."} & set(url.split("/")):
        raise ImproperlyConfigured(f"{name} must look like s3://bucket/prefix, without keys.")
    bucket, prefix = match.groups()
    return bucket, f"{prefix[1:]}/" if prefix else ""


def read_secret_key() -> str:
    """Read the key that signs access tokens; refuse one that somebody else may know."""
    key = os.environ.get("SECRET_KEY", "")
    if not key and TESTING:
        return TEST_SECRET_KEY
    if not key:
        fault = "is not set"
    elif key.startswith("django-insecure-"):
        fault = "is a published key"
    elif len(key) < SECRET_KEY_MIN_LENGTH or len(set(key)) < 10:
        fault = f"is too easy to guess; it needs {SECRET_KEY_MIN_LENGTH} random characters"
    else:
        return key
    make_one = "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
    raise ImproperlyConfigured(f"SECRET_KEY {fault}. Make one: {make_one}")


def read_encryption_keys() -> list[bytes]:
    """Read the keys that seal the secrets of data sources; the first seals, all open."""
    text = os.environ.get("ENCRYPTION_KEYS", "")
    if not text and TESTING:
        return [TEST_ENCRYPTION_KEY]
    if not text:
        raise ImproperlyConfigured(
            "ENCRYPTION_KEYS is not set. Make a key: python manage.py generate_key"
        )
    try:
        return parse_keys(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"ENCRYPTION_KEYS is malformed: {error}.") from None


def read_databases(name: str, replica_name: str) -> dict[str, Any]:
    """Read the URL of the database, and that of its replica, if there is one.

    Without the first it is the embedded server, which is started.
    """
    url = os.environ.get(name) or embedded_postgres.start(BASE_DIR / ".postgres")
    databases = {"default": parse_database(name, url, DATABASE_SILENCE_SECONDS)}
    if replica_url := os.environ.get(replica_name):
        databases["replica"] = parse_database(replica_name, replica_url, REPLICA_SILENCE_SECONDS)
        databases["replica"]["TEST"] = {"MIRROR": "default"}
    return databases


def parse_database(name: str, url: str, silence_seconds: int) -> dict[str, Any]:
    """Give the database at a PostgreSQL URL, the value of `name`; its own options come first."""
    options = out_of_reach_after(silence_seconds)
    try:
        # The parser warns of other schemes, repeating the URL: they are not shown to it.
        is_postgresql = url.startswith(("postgresql://", "postgres://"))
        database: dict[str, Any] = environ.Env.db_url_config(url) if is_postgresql else {}
    except Exception:  # whatever the parser raises repeats the URL, password included
        database = {}
    if database.get("ENGINE") != "django.db.backends.postgresql" or not database["NAME"]:
        raise ImproperlyConfigured(
            f"{name} must look like postgresql://user:password@host:5432/database."
        )
    return {
        **database,
        "ENGINE": "rivergen.postgresql",
        "OPTIONS": {**options, **database.get("OPTIONS", {})},
        "CONN_MAX_AGE": 60,  # seconds
        # After a database restart the first request must find out that its connection is gone.
        "CONN_HEALTH_CHECKS": True,
        # Behind PgBouncer in transaction mode the next statement may go to another connection,
        # which has no such cursor.
        "DISABLE_SERVER_SIDE_CURSORS": True,
    }


def out_of_reach_after(seconds: int) -> dict[str, int]:
    """Give libpq's options for a server that nobody waits for if its machine keeps silent."""
    return {
        "connect_timeout": seconds,  # one that accepts and then says nothing, as well
        # It vanished without a word: from a query that it has not acknowledged, or has.
        "tcp_user_timeout": 1_000 * seconds,  # milliseconds
        "keepalives_idle": seconds,
        "keepalives_interval": 1,  # seconds
        "keepalives_count": seconds,
    }


DEBUG = read_bool("DEBUG")
DEFAULT_EXCEPTION_REPORTER_FILTER = "rivergen.observability.error_pages.SilentReporterFilter"
SECRET_KEY = read_secret_key()
ENCRYPTION_KEYS = read_encryption_keys()
ALLOWED_HOSTS = read_list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])

IS_DATABASE_EMBEDDED = not os.environ.get("DATABASE_URL")

# Read by rivergen.gunicorn.
BIND_ADDRESS = os.environ.get("BIND_ADDRESS") or "127.0.0.1"
PORT = read_number("PORT", default=8000, low=1, high=65_535)
WEB_CONCURRENCY = read_number("WEB_CONCURRENCY", default=2, low=1, high=256)

# The proxies whose X-Forwarded-Proto is believed.
FORWARDED_ALLOW_IPS = read_list("FORWARDED_ALLOW_IPS", default=["127.0.0.1", "::1"])

# What data sources may be connected to, besides what is by default; rivergen.egress.policy.
EGRESS_ALLOW = read_egress_rules("EGRESS_ALLOW")
EGRESS_DENY = read_egress_rules("EGRESS_DENY")

# Who may read /metrics: each of the two that is set must be met; rivergen.observability.metrics.
METRICS_TOKEN = read_token("METRICS_TOKEN")
METRICS_ALLOW = read_networks(
    "METRICS_ALLOW", default="0.0.0.0/0,::/0" if METRICS_TOKEN else "127.0.0.0/8,::1"
)

RATE_LIMIT_USER = read_rate("RATE_LIMIT_USER", default="6000/min")
RATE_LIMIT_TOKEN = read_rate("RATE_LIMIT_TOKEN", default="60/min")
RATE_LIMIT_TEST = read_rate("RATE_LIMIT_TEST", default="60/min")

# Tests and refreshes that one worker process has running; nearly all of their time is waiting.
WORKER_CONCURRENCY = read_number("WORKER_CONCURRENCY", default=64, low=3, high=1024)
# How often a worker shows that it is alive; after four times as long its jobs are run again.
WORKER_HEARTBEAT_SECONDS = 5
PROCRASTINATE_AUTODISCOVER_MODULE_NAME = ""
PROCRASTINATE_IMPORT_PATHS = [
    "datasources.jobs",
    "datasources.connection_tests.tasks",
    "datasources.schemas.tasks",
]

# What `make run` keeps on a machine: its own keys and files. Git ignores it.
LOCAL_DIR = BASE_DIR / ".local"
# Where the files of all organizations are: in a bucket, if there is one, else in a folder.
STORAGE_URL = read_storage_url("STORAGE_URL")
STORAGE_ROOT = Path(os.environ.get("STORAGE_ROOT") or LOCAL_DIR / "storage")
# Where the secrets are that `apply_data_sources` may be pointed to, if anywhere.
SECRETS_ROOT = os.environ.get("SECRETS_ROOT") or None

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "procrastinate.contrib.django",
    "rest_framework",
    "organizations",
    "datasources",
]

MIDDLEWARE = [
    "rivergen.http.middleware.RequestMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "rivergen.http.page_middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "rivergen.http.page_middleware.AuthenticationMiddleware",
    "rivergen.http.page_middleware.MessageMiddleware",
    "rivergen.postgresql.acting_user.ActingUserMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "organizations.middleware.WritePositionMiddleware",
]

ROOT_URLCONF = "rivergen.urls"
WSGI_APPLICATION = "rivergen.wsgi.application"
APPEND_SLASH = False

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "rivergen" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = read_databases("DATABASE_URL", "DATABASE_REPLICA_URL")
# Whether the web says who is asking, to a server that shows nobody what is not theirs.
DATABASE_ROW_LEVEL_SECURITY = read_bool("DATABASE_ROW_LEVEL_SECURITY")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "organizations.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
if TESTING:
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Times leave as UTC and end in "Z".
TIME_ZONE = "UTC"
USE_I18N = False

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "rivergen" / "static"]
# Served from the installed packages: nothing to collect before a start.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

REQUEST_BODY_MAX_BYTES = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_BODY_MAX_BYTES

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["organizations.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["organizations.permissions.IsOrganizationMember"],
    "DEFAULT_PARSER_CLASSES": ["rivergen.http.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rivergen.http.renderers.FastJSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["rivergen.http.throttling.UserThrottle"],
    # How many proxies in front add their client's address to X-Forwarded-For.
    "NUM_PROXIES": read_number("NUM_PROXIES", default=0, low=0, high=10),
    "DEFAULT_SCHEMA_CLASS": "rivergen.http.openapi.EnvelopeSchema",
    # OPTIONS would answer outside the envelope, with what openapi.json says better.
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "rivergen.http.responses.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "SIGNING_KEY": SECRET_KEY,
    # A new password ends what was signed in with the old one, at the next exchange.
    "CHECK_REVOKE_TOKEN": True,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "rivergen",
    "DESCRIPTION": "The data sources of an organization: connections to its databases, "
    "warehouses and files.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "ConnectionTestCode": "datasources.connections.failures.Code",
        "DataSourceType": "datasources.connections.connectors.DataSourceType",
        "DataSourceStatus": "datasources.models.DataSource.Status",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False},
}

# Nothing but our own files: no inline script, no other host, no frame.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: they are not ours to decide about
    "security.W008",  # redirect to HTTPS: done by the proxy that ends TLS
    "security.W021",  # HSTS preload: likewise
]

LOG_FORMAT = read_choice("LOG_FORMAT", ("text", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "rivergen.observability.logs.RequestIDFilter"}},
    "formatters": {
        "text": {"format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"},
        "json": {"()": "rivergen.observability.logs.JSONFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "filters": ["request_id"],
            "formatter": LOG_FORMAT,
        }
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "rivergen": {"level": "INFO"},
        # Django reports each 4xx; the request log has them, with their status.
        "django": {"handlers": ["console"], "level": "ERROR", "propagate": False},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
    },
}
