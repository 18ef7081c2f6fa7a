"""The schemas and files that are read: none of them was written for rivergen."""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

import procrastinate

from tests.real.downloads import CACHE

SITE_PACKAGES = Path(procrastinate.__file__).parent.parent
DJANGO = tuple(
    f"django.contrib.{name}"
    for name in ("contenttypes", "auth", "sessions", "sites", "admin", "redirects", "flatpages")
)
WAGTAIL = tuple(
    f"wagtail.{name}"
    for name in (
        *("contrib.forms", "contrib.redirects", "contrib.settings", "contrib.search_promotions"),
        *("embeds", "sites", "users", "snippets", "documents", "images", "search", "admin"),
    )
)
KEYSTONE = tuple(
    f"keystone.{name}.sql"
    for name in (
        *("application_credential.backends", "assignment.backends", "assignment.role_backends"),
        *("catalog.backends", "credential.backends", "endpoint_policy.backends"),
        *("federation.backends", "identity.backends", "identity.mapping_backends"),
        *("identity.shadow_backends", "limit.backends", "oauth1.backends", "policy.backends"),
        *("resource.backends", "resource.config_backends", "revoke.backends", "trust.backends"),
    )
)
DAGSTER = "dagster._core.storage"
# By environment and name: the modules of `sqlalchemy_tables.py` or the apps of `django_tables.py`.
# What is in `installed` comes with rivergen itself, so that `make test` reads it, too.
APPLICATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "installed": {"Django, installed": DJANGO},
    "django": {
        "Django": DJANGO,
        "reusable apps": (
            *(*DJANGO, "allauth", "allauth.account", "allauth.socialaccount", "allauth.mfa"),
            *("axes", "constance", "django_celery_beat", "django_celery_results", "django_otp"),
            *("django_otp.plugins.otp_email", "django_otp.plugins.otp_static"),
            *("django_otp.plugins.otp_totp", "django_q", "easy_thumbnails", "filer", "guardian"),
            *("oauth2_provider", "reversion", "simple_history", "social_django", "taggit"),
            "waffle",
        ),
        "django CMS": (*DJANGO, *("sekizai", "cms", "menus", "treebeard")),
        "Wagtail": (*DJANGO, *WAGTAIL, "wagtail", "modelcluster", "taggit", "wagtailmenus"),
        "dj-stripe": (*DJANGO, "djstripe"),
    },
    "openstack": {
        "Barbican": ("barbican.model.models:BASE",),
        "Cinder": ("cinder.db.models:BASE",),
        "Designate": ("designate.storage.sqlalchemy.tables:metadata",),
        "Heat": ("heat.db.models:BASE",),
        "Ironic": ("ironic.db.sqlalchemy.models:Base",),
        "Keystone": (*KEYSTONE, "keystone.common.sql.core:ModelBase"),
        "Manila": ("manila.db.sqlalchemy.models:BASE",),
        "Neutron": ("neutron.db.migration.models.head", "neutron_lib.db.model_base:BASEV2"),
        "Nova": ("nova.db.main.models:BASE",),
        "Nova API": ("nova.db.api.models:BASE",),
        "Placement": ("placement.db.sqlalchemy.models:BASE",),
    },
    "sqlalchemy": {
        "Airflow": ("airflow.models:import_all_models()", "airflow.models.base:Base"),
        "Buildbot": ("buildbot.db.model:Model",),
        "Dagster": (
            f"{DAGSTER}.runs.schema:RunStorageSqlMetadata",
            f"{DAGSTER}.event_log.schema:SqlEventLogStorageMetadata",
            f"{DAGSTER}.schedules.schema:ScheduleStorageSqlMetadata",
        ),
        "Galaxy": ("galaxy.model:mapper_registry",),
        "MLflow": (
            "mlflow.store.tracking.dbmodels.models",
            "mlflow.store.model_registry.dbmodels.models",
            "mlflow.store.db.base_sql_model:Base",
        ),
    },
}
INSTALLED = "installed"
FREERADIUS = "debian/freeradius-config/etc/freeradius/3.0/mods-config/sql"
DBCONFIG = "usr/share/dbconfig-common/data"
# By database and name: patterns of the scripts, in the cache, that create a schema.
SCRIPTS: dict[str, dict[str, tuple[str, ...]]] = {
    "postgresql": {
        "Procrastinate, installed": (f"{INSTALLED}/procrastinate/sql/schema.sql",),
        "Bacula": (f"debian/bacula-director-pgsql/{DBCONFIG}/*/install/pgsql",),
        "ejabberd": ("debian/ejabberd/usr/share/ejabberd/sql/pg.sql",),
        "ejabberd, new": ("debian/ejabberd/usr/share/ejabberd/sql/pg.new.sql",),
        "FreeRADIUS": (f"{FREERADIUS}/*/postgresql/schema.sql",),
        "FreeRADIUS, Cisco": (f"{FREERADIUS}/main/postgresql/extras/cisco_h323_db_schema.sql",),
        "Gammu": ("debian/gammu-smsd/usr/share/doc/gammu-smsd/examples/pgsql.sql",),
        "Glewlwyd": (f"debian/glewlwyd/{DBCONFIG}/*/install/pgsql",),
        "GNUmed": ("debian/gnumed-server/var/lib/gnumed/server/sql/gm*.sql",) * 3,
        "Graphile Worker": ("npm/graphile-worker/package/sql/*.sql",),
        "Icinga 2": (f"debian/icinga2-ido-pgsql/{DBCONFIG}/*/install/pgsql",),
        "Icinga Director": (
            "debian/icingaweb2-module-director/usr/share/icingaweb2/modules/director/schema/pgsql.sql",
        ),
        "Kamailio": (
            "debian/kamailio-postgres-modules/usr/share/kamailio/postgres/standard-create.sql",
            "debian/kamailio-postgres-modules/usr/share/kamailio/postgres/*-create.sql",
        ),
        "Kea": ("debian/kea-admin/usr/share/kea/scripts/pgsql/dhcpdb_create.pgsql",),
        "LedgerSMB": ("debian/ledgersmb/usr/share/ledgersmb/sql/Pg-database.sql",),
        "MediaWiki": (
            "debian/mediawiki/usr/share/mediawiki/maintenance/postgres/tables.sql",
            "debian/mediawiki/usr/share/mediawiki/maintenance/postgres/tables-generated.sql",
        ),
        "PowerDNS": ("debian/pdns-backend-pgsql/usr/share/*/schema/schema.pgsql.sql",),
        "Prelude": (f"debian/prelude-manager/{DBCONFIG}/*/install/pgsql",),
        "Request Tracker": ("debian/request-tracker5/usr/share/request-tracker5/etc/schema.Pg",),
        "Roundcube": (f"debian/roundcube-core/{DBCONFIG}/*/install/pgsql",),
        "rsyslog": (f"debian/rsyslog-pgsql/{DBCONFIG}/*/install/pgsql",),
        "Synapse": (
            "pypi/matrix-synapse/synapse/storage/schema/*/full_schemas/*/full.sql.postgres",
        ),
        "Tiny Tiny RSS": (f"debian/tt-rss/{DBCONFIG}/*/install/pgsql",),
        "Zabbix": ("debian/zabbix-server-pgsql/usr/share/zabbix-server-pgsql/schema.sql.gz",),
    },
    "mariadb": {
        "Bacula": (f"debian/bacula-director-mysql/{DBCONFIG}/*/install/mysql",),
        "Cacti": ("debian/cacti/usr/share/cacti/conf_templates/cacti.sql",),
        "ejabberd": ("debian/ejabberd/usr/share/ejabberd/sql/mysql.sql",),
        "ejabberd, new": ("debian/ejabberd/usr/share/ejabberd/sql/mysql.new.sql",),
        "FreeRADIUS": (f"{FREERADIUS}/*/mysql/schema.sql",),
        "Gammu": ("debian/gammu-smsd/usr/share/doc/gammu-smsd/examples/mysql.sql",),
        "Glewlwyd": (f"debian/glewlwyd/{DBCONFIG}/*/install/mysql",),
        "Icinga 2": (f"debian/icinga2-ido-mysql/{DBCONFIG}/*/install/mysql",),
        "Icinga Director": (
            "debian/icingaweb2-module-director/usr/share/icingaweb2/modules/director/schema/mysql.sql",
        ),
        "Kamailio": (
            "debian/kamailio-mysql-modules/usr/share/kamailio/mysql/standard-create.sql",
            "debian/kamailio-mysql-modules/usr/share/kamailio/mysql/*-create.sql",
        ),
        "Kea": ("debian/kea-admin/usr/share/kea/scripts/mysql/dhcpdb_create.mysql",),
        "MediaWiki": (
            "debian/mediawiki/usr/share/mediawiki/maintenance/tables.sql",
            "debian/mediawiki/usr/share/mediawiki/maintenance/tables-generated.sql",
        ),
        "phpMyAdmin": (f"debian/phpmyadmin/{DBCONFIG}/*/install/mysql",),
        "Pnopaste": (f"debian/pnopaste/{DBCONFIG}/*/install/mysql",),
        "PowerDNS": ("debian/pdns-backend-mysql/usr/share/*/schema/schema.mysql.sql",),
        "Prelude": (f"debian/prelude-manager/{DBCONFIG}/*/install/mysql",),
        "Request Tracker": ("debian/request-tracker5/usr/share/request-tracker5/etc/schema.mysql",),
        "Roundcube": (f"debian/roundcube-core/{DBCONFIG}/*/install/mysql",),
        "rsyslog": (f"debian/rsyslog-mysql/{DBCONFIG}/*/install/mysql",),
        "Tiny Tiny RSS": (f"debian/tt-rss/{DBCONFIG}/*/install/mysql",),
        "Zabbix": ("debian/zabbix-server-mysql/usr/share/zabbix-server-mysql/schema.sql.gz",),
        "ZoneMinder": ("debian/zoneminder/usr/share/zoneminder/db/zm_create.sql",),
    },
    "sqlite": {
        "Bacula": (f"debian/bacula-director-sqlite3/{DBCONFIG}/*/install/sqlite3",),
        "ejabberd": ("debian/ejabberd/usr/share/ejabberd/sql/lite.sql",),
        "ejabberd, new": ("debian/ejabberd/usr/share/ejabberd/sql/lite.new.sql",),
        "Employees": ("npm/@bytebase+dbhub/package/dist/demo/employee-sqlite/employee.sql",),
        "FreeRADIUS": (f"{FREERADIUS}/*/sqlite/schema.sql",),
        "Gammu": ("debian/gammu-smsd/usr/share/doc/gammu-smsd/examples/sqlite.sql",),
        "Glewlwyd": (f"debian/glewlwyd/{DBCONFIG}/*/install/sqlite3",),
        "Kamailio": ("debian/kamailio-sqlite-modules/usr/share/kamailio/*sqlite/*-create.sql",),
        "MediaWiki": (
            "debian/mediawiki/usr/share/mediawiki/maintenance/sqlite/tables-generated.sql",
            "debian/mediawiki/usr/share/mediawiki/maintenance/sqlite/tables.sql",
        ),
        "PowerDNS": ("debian/pdns-backend-sqlite3/usr/share/*/schema/schema.sqlite3.sql",),
        "Request Tracker": (
            "debian/request-tracker5/usr/share/request-tracker5/etc/schema.SQLite",
        ),
        "Roundcube": (f"debian/roundcube-core/{DBCONFIG}/*/install/sqlite3",),
        "Synapse": ("pypi/matrix-synapse/synapse/storage/schema/*/full_schemas/*/full.sql.sqlite",),
        "Zabbix": ("debian/zabbix-proxy-sqlite3/usr/share/zabbix-proxy-sqlite3/schema.sql.gz",),
    },
}
# Packages of Debian that are only there for their files.
DEBIAN_FILES = (
    *("gdal-data", "proj-data", "qgis-common", "r-bioc-annotationdbi", "r-cran-data.table"),
    *("r-cran-dslabs", "r-cran-readr", "r-cran-rsqlite", "r-cran-sf"),
)
FILES_OF_A_PACKAGE = 40
FILE_BYTES_MAX = 8 * 1024 * 1024
# Packages whose JSON files are no data.
WITHOUT_JSON = ("mediawiki", "zoneminder", "icingaweb2-module-director", "phpmyadmin")
# By type of source: the ends of the names of files, anywhere in the cache but in `apps/`.
FILES = {
    "sqlite": (".gpkg", ".sqlite", ".db", ".sqlite3"),
    "csv": (".csv", ".csv.gz", ".tsv"),
    "json": (".json", ".json.gz"),
    "parquet": (".parquet",),
}


def debian_packages() -> set[str]:
    """Return the packages of Debian that the scripts and files are in."""
    patterns = (pattern for one in SCRIPTS.values() for found in one.values() for pattern in found)
    return {pattern.split("/")[1] for pattern in patterns if pattern.startswith("debian/")} | {
        *DEBIAN_FILES
    }


def scripts_of(patterns: tuple[str, ...]) -> list[Path]:
    """Return the scripts that patterns mean, in their order."""
    return [path for pattern in patterns for path in sorted(matching(pattern))]


def matching(pattern: str) -> Iterable[Path]:
    """Return what a pattern means, in the cache or among the packages of rivergen."""
    if pattern.startswith(f"{INSTALLED}/"):
        return SITE_PACKAGES.glob(pattern.removeprefix(f"{INSTALLED}/"))
    return CACHE.glob(pattern)


def files_of(type_name: str) -> list[Path]:
    """Return the files of a type, the first `FILES_OF_A_PACKAGE` of each package."""
    found = sorted(
        path
        for registry in ("debian", "npm", "pypi")
        for path in (CACHE / registry).rglob("*")
        if path.name.endswith(FILES[type_name])
        and path.is_file()
        and (type_name == "sqlite" or path.stat().st_size <= FILE_BYTES_MAX)
        and not path.is_symlink()
        and not (type_name == "json" and is_of_program(path))
        and not (type_name == "sqlite" and not is_sqlite(path))
    )
    packages = groupby(found, lambda path: path.relative_to(CACHE).parts[:2])
    return [path for _, paths in packages for path in [*paths][:FILES_OF_A_PACKAGE]]


def is_of_program(path: Path) -> bool:
    """Return whether a JSON file belongs to a program."""
    package = path.relative_to(CACHE).parts[1]
    return (
        package in WITHOUT_JSON
        or path.name in ("package.json", "package-lock.json", "composer.json", "manifest.json")
        or (package == "@stdlib+datasets" and "data" not in path.parts)
    )


def is_sqlite(path: Path) -> bool:
    """Return whether a file is a database of SQLite; other programs use the same endings."""
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"
