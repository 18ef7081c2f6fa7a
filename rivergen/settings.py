"""Django settings. The environment is read here only; docs/configuration.md lists the variables."""

import os
from datetime import timedelta
from pathlib import Path

from rivergen.env import (
    PORT_MAX,
    QUOTA_MAX,
    TEST_SECRET_KEY,  # noqa: F401  # a setting, for tests
    TESTING,
    derive_token_key,
    read_bool,
    read_choice,
    read_databases,
    read_egress_rules,
    read_encryption_keys,
    read_list,
    read_networks,
    read_number,
    read_origins,
    read_rate,
    read_secret_key,
    read_secret_key_fallbacks,
    read_storage_url,
    read_token,
)
from rivergen.hidden_environment import is_secret_set
from rivergen.http.openapi.names import TAGS

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = read_bool("DEBUG")
DEFAULT_EXCEPTION_REPORTER_FILTER = "rivergen.observability.error_pages.SilentReporterFilter"
SECRET_KEY = read_secret_key("SECRET_KEY")
SECRET_KEY_FALLBACKS = read_secret_key_fallbacks("SECRET_KEY_FALLBACKS")
# The first signs tokens, all verify them.
TOKEN_KEYS = [derive_token_key(key) for key in (SECRET_KEY, *SECRET_KEY_FALLBACKS)]
ENCRYPTION_KEYS = read_encryption_keys("ENCRYPTION_KEYS")
ALLOWED_HOSTS = read_list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])

IS_DATABASE_EMBEDDED = not is_secret_set("DATABASE_URL")

# Read by rivergen.server.gunicorn.
BIND_ADDRESS = os.environ.get("BIND_ADDRESS") or "127.0.0.1"
PORT = read_number("PORT", default=8000, low=1, high=PORT_MAX)
WEB_CONCURRENCY = read_number("WEB_CONCURRENCY", default=2, low=1, high=256)

# The proxies whose X-Forwarded-Proto is trusted.
FORWARDED_ALLOW_IPS = read_list("FORWARDED_ALLOW_IPS", default=["127.0.0.1", "::1"])

# The egress policy of data sources, and its exceptions; see rivergen.egress.policy.
EGRESS_DEFAULT = read_choice("EGRESS_DEFAULT", ("private", "public"))
EGRESS_ALLOW = read_egress_rules("EGRESS_ALLOW")
EGRESS_DENY = read_egress_rules("EGRESS_DENY")

# The pages that may call the API: by token only, since no cookie is allowed.
CORS_ALLOWED_ORIGINS = read_origins("CORS_ALLOWED_ORIGINS")
CORS_URLS_REGEX = r"^/api/v1/"
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
CORS_ALLOW_HEADERS = [
    *("Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key"),
    "X-Request-ID",
]
CORS_EXPOSE_HEADERS = ["ETag", "Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed"]
CORS_PREFLIGHT_MAX_AGE = 7200  # seconds; Chromium keeps none for longer

# Who may read /metrics. If both are set, both must match; see rivergen.observability.metrics.
METRICS_TOKEN = read_token("METRICS_TOKEN")
METRICS_ALLOW = read_networks(
    "METRICS_ALLOW", default="0.0.0.0/0,::/0" if METRICS_TOKEN else "127.0.0.0/8,::1"
)

RATE_LIMIT_USER = read_rate("RATE_LIMIT_USER", default="6000/min")
RATE_LIMIT_TOKEN = read_rate("RATE_LIMIT_TOKEN", default="60/min")
RATE_LIMIT_TEST = read_rate("RATE_LIMIT_TEST", default="60/min")

# What one organization may have, unless staff have set another quota for it in the admin.
QUOTA_DATA_SOURCES = read_number("QUOTA_DATA_SOURCES", 10_000, low=1, high=QUOTA_MAX)
QUOTA_HISTORY_BYTES = read_number("QUOTA_HISTORY_BYTES", 1024**3, low=1, high=QUOTA_MAX)
QUOTA_KEPT_ANSWER_BYTES = read_number("QUOTA_KEPT_ANSWER_BYTES", 1024**3, low=1, high=QUOTA_MAX)
QUOTA_SCHEMA_BYTES = read_number("QUOTA_SCHEMA_BYTES", 10 * 1024**3, low=1, high=QUOTA_MAX)
QUOTA_WORKSPACES = 1_000
QUOTA_MEMBERS = 10_000

# Tests and refreshes that one worker process runs at a time; they spend their time waiting.
WORKER_CONCURRENCY = read_number("WORKER_CONCURRENCY", default=64, low=3, high=1024)
# How often a worker sends a heartbeat. After four intervals without one, its jobs are retried.
WORKER_HEARTBEAT_SECONDS = 5
PROCRASTINATE_AUTODISCOVER_MODULE_NAME = ""
PROCRASTINATE_IMPORT_PATHS = [
    "datasources.jobs",
    "datasources.connection_tests.tasks",
    "datasources.schemas.tasks",
]

# The keys and files of `make run`. Git ignores this folder.
LOCAL_DIR = BASE_DIR / ".local"
# The files of all organizations are in a bucket if one is set, otherwise in a folder.
STORAGE_URL = read_storage_url("STORAGE_URL")
STORAGE_ROOT = Path(os.environ.get("STORAGE_ROOT") or LOCAL_DIR / "storage")
# The folder of secrets that the file of `apply_data_sources` may refer to, if any.
SECRETS_ROOT = os.environ.get("SECRETS_ROOT") or None

INSTALLED_APPS = [
    "rivergen.http.admin.AdminConfig",
    "corsheaders",
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
    "corsheaders.middleware.CorsMiddleware",
    "rivergen.http.compression.CompressionMiddleware",
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

DATABASES = read_databases(
    "DATABASE_URL", "DATABASE_REPLICA_URL", embedded_folder=BASE_DIR / ".postgres"
)
# Whether the web process sets the acting user for row-level security.
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
] + [{"NAME": "organizations.sign_in.passwords.ContextWordsValidator"}]
PASSWORD_HASHERS = [
    "organizations.sign_in.hashing.Argon2idPasswordHasher",
    # Of passwords that were set before Argon2id; the next sign-in replaces the hash.
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
if TESTING:
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Times are shown in UTC and end in "Z".
TIME_ZONE = "UTC"
USE_I18N = False

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "rivergen" / "static"]
# Files are served from the installed packages, without collectstatic.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

REQUEST_BODY_MAX_BYTES = 1024 * 1024
DATA_UPLOAD_MAX_MEMORY_SIZE = REQUEST_BODY_MAX_BYTES
FILE_UPLOAD_HANDLERS = ["rivergen.http.uploads.BoundedUploadHandler"]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["organizations.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["organizations.permissions.IsOrganizationMember"],
    "DEFAULT_PARSER_CLASSES": ["rivergen.http.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rivergen.http.renderers.FastJSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["rivergen.http.throttling.UserThrottle"],
    # The number of proxies that each add their client's address to X-Forwarded-For.
    "NUM_PROXIES": read_number("NUM_PROXIES", default=0, low=0, high=10),
    "DEFAULT_SCHEMA_CLASS": "rivergen.http.openapi.schema.EnvelopeSchema",
    # DRF's answer to OPTIONS is not in the envelope, and openapi.json says more.
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "rivergen.http.responses.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}

SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "SIGNING_KEY": TOKEN_KEYS[0],
    "ISSUER": "rivergen",
    "AUDIENCE": "rivergen",
}

SPECTACULAR_SETTINGS = {
    "TITLE": "rivergen",
    "DESCRIPTION": (BASE_DIR / "rivergen/http/openapi/getting_started.md").read_text("utf-8"),
    "VERSION": "1",
    "CONTACT": {"name": "rivergen"},
    "LICENSE": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
    "SERVERS": [{"url": "/", "description": "The server that this document comes from."}],
    "TAGS": TAGS,
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": ["rivergen.http.openapi.document.finish"],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    # The enumerations that are components: see `rivergen.http.openapi.document.Enums`.
    "ENUM_NAME_OVERRIDES": {
        "ConnectionTestCode": "datasources.connections.failures.Code",
        "ConnectionTestWarningCode": "datasources.connections.protection.WarningCode",
        "CredentialsStatus": "datasources.models.DataSource.CredentialsStatus",
        "DataSourceStatus": "datasources.models.DataSource.Status",
        "DataSourceType": "datasources.connections.connectors.DataSourceType",
        "Role": "organizations.models.Role",
        "SchemaStatus": "datasources.models.DataSource.SchemaStatus",
    },
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {
        "deepLinking": True,
        "persistAuthorization": False,
        "defaultModelsExpandDepth": 0,
    },
}

# Only this site's own files: no inline scripts, no other hosts, no frames.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
SESSION_ENGINE = "rivergen.http.sessions"
SESSION_COOKIE_AGE = 3600  # seconds without a request; the engine also limits the whole session
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_HSTS_SECONDS = 365 * 24 * 3600
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: the operator's decision
    "security.W008",  # redirect to HTTPS: done by the proxy that terminates TLS
    "security.W021",  # HSTS preload: the operator's decision
]

LOG_FORMAT = read_choice("LOG_FORMAT", ("text", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "rivergen.observability.logs.RequestIDFilter"}},
    "formatters": {
        "text": {
            "class": "rivergen.observability.logs.TextFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
        },
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
        # Django logs each 4xx as a warning; the request log already has them.
        "django": {"handlers": ["console"], "level": "ERROR", "propagate": False},
        # Requests that Django refuses as malformed; it would log a traceback for each.
        "django.security": {"level": "CRITICAL"},
    },
}
