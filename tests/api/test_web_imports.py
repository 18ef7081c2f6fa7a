"""Web processes import no database drivers: only workers and their child processes do."""

import os
import subprocess
import sys

from django.db import connection
from django.test import TestCase

from rivergen.local.run import BASE_DIR
from rivergen.testing.services import url_of

DRIVERS = {
    *("asyncssh", "boto3", "botocore", "clickhouse_connect", "databricks", "duckdb", "fsspec"),
    *("google", "numpy", "oracledb", "pandas", "pyarrow", "pymongo", "pymssql", "pymysql"),
    *("redshift_connector", "snowflake", "sqlalchemy", "trino"),
}

# Calls every route in ROUTES, and the pages, in a process that loads what gunicorn loads.
WEB = """
import sys
from rivergen import wsgi
from rivergen.server import gunicorn
gunicorn.import_and_freeze()

from django.db import connection, transaction
from django.test import Client
assert connection.connection is None, "The forked workers would share this connection."
from tests.api.testing.route_table import ROUTES, RouteTestCase

PATHS = ("/", "/healthz", "/readyz", "/metrics")
PATHS += ("/api/v1/openapi.json", "/api/docs", "/admin/login/")
for path in PATHS:
    assert Client().get(path, secure=True).status_code == 200, path
with transaction.atomic():
    RouteTestCase.setUpTestData()
    for (method, path), route in ROUTES.items():
        response, _ = RouteTestCase().try_as(RouteTestCase.owner, method, path)
        assert response.status_code == route.success, (path, response.content)
    transaction.set_rollback(True)
print(*sys.modules)
"""


class WebImportsTests(TestCase):
    def test_no_route_imports_a_driver(self):
        database = url_of(str(connection.settings_dict["NAME"]))
        web = subprocess.run(
            [sys.executable, "-c", WEB],
            cwd=BASE_DIR,
            env={**os.environ, "ALLOWED_HOSTS": "testserver", "DATABASE_URL": database},
            capture_output=True,
            text=True,
        )
        self.assertEqual(web.returncode, 0, web.stderr)
        loaded = {name.partition(".")[0] for name in web.stdout.split()}
        self.assertIn("psycopg", loaded)
        self.assertEqual(loaded & DRIVERS, set())
