"""Create the tables of applications for Django; runs in the applications' environment.

The arguments are the backend (`postgresql`, `mysql` or `sqlite3`), the name of an empty database,
host, port, user and password, and the applications, which the database must support.
"""

import importlib
import sys
from unittest import mock

import django
from django.conf import settings
from django.core.management import call_command

# Without migrations, the models as they are now become tables: one statement each, not hundreds.
WITHOUT_MIGRATIONS = mock.MagicMock(
    __contains__=lambda self, name: True, __getitem__=lambda self, name: None, get=lambda *_: None
)

CONTEXT = [
    "django.template.context_processors.request",
    "sekizai.context_processors.sekizai",
    "cms.context_processors.cms_settings",
]


def main(
    backend: str, name: str, host: str, port: str, user: str, password: str, *apps: str
) -> None:
    """Create all tables."""
    database: dict[str, object] = {
        "ENGINE": f"django.db.backends.{backend}",
        "NAME": name,
        "HOST": host,
        "PORT": port,
    }
    if backend == "mysql":
        import pymysql

        pymysql.version_info = (2, 2, 7, "final", 0)  # Django wants that of mysqlclient
        pymysql.install_as_MySQLdb()
        # Django refuses MariaDB's older versions, which its tables would suit.
        database["OPTIONS"] = {"charset": "utf8mb4"}
    settings.configure(
        **defaults(apps),
        SECRET_KEY="-" * 50,
        MIDDLEWARE=["allauth.account.middleware.AccountMiddleware"],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {"context_processors": CONTEXT},
            }
        ],
        STATIC_URL="/static/",
        INSTALLED_APPS=apps,
        DATABASES={"default": database | {"USER": user, "PASSWORD": password}},
        MIGRATION_MODULES=WITHOUT_MIGRATIONS,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        SITE_ID=1,
        ROOT_URLCONF="django.conf.urls",
        SILENCED_SYSTEM_CHECKS=["*"],
        LANGUAGES=[("en", "English")],
        LANGUAGE_CODE="en",
        CMS_CONFIRM_VERSION4=True,
        CMS_TEMPLATES=[("page.html", "Page")],
        MEDIA_ROOT="/nonexistent",
        HAYSTACK_CONNECTIONS={
            "default": {"ENGINE": "haystack.backends.simple_backend.SimpleEngine"}
        },
        Q_CLUSTER={"orm": "default"},
        DJSTRIPE_FOREIGN_KEY_TO_FIELD="id",
    )
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0, skip_checks=True)


def defaults(apps: tuple[str, ...]) -> dict[str, object]:
    """Return the settings that come with some applications."""
    if not any(app.startswith("oscar") for app in apps):
        return {}
    module = importlib.import_module("oscar.defaults")
    return {name: value for name, value in vars(module).items() if name.startswith("OSCAR_")}


if __name__ == "__main__":
    main(*sys.argv[1:])
