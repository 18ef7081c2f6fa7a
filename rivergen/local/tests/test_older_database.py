"""A database that the migrations of another version have made."""

import subprocess
import sys
from pathlib import Path

from django.db import connection
from django.test import SimpleTestCase, TestCase

from datasources.models import DataSource
from rivergen.local.older_database import difference_from_models
from rivergen.testing.run import Run, fresh_copy

# Make a database as an earlier version of the first migration may have made it.
MAKE_OLDER_DATABASE = """
import sys
from pathlib import Path
import psycopg
from rivergen.local import embedded_postgres
with psycopg.connect(embedded_postgres.start(Path(sys.argv[1])), autocommit=True) as connection:
    connection.execute("CREATE TABLE organizations_organization (id bigint PRIMARY KEY)")
"""


class DifferenceTests(TestCase):
    def test_database_of_this_checkout_does_not_differ(self):
        self.assertIsNone(difference_from_models())

    def test_each_difference_of_an_older_database_is_named(self):
        for change, difference in (
            ("ALTER TABLE datasources_datasource RENAME tags TO labels", "datasource."),
            ("ALTER TABLE datasources_datasource ADD colour text", "datasource.colour differs"),
            ("ALTER TABLE datasources_datasource DROP description", "description differs"),
            ("DROP TABLE organizations_signincount", "organizations_signincount is missing"),
            (
                "INSERT INTO django_migrations (app, name, applied) "
                "VALUES ('datasources', '0002_gone', now())",
                "datasources.0002_gone is not in this checkout",
            ),
        ):
            with self.subTest(change):
                self.assertIn(difference, str(self.difference_after(change)))

    def test_indexes_are_compared_by_name(self):
        name = DataSource._meta.indexes[0].name
        self.assertEqual(self.difference_after(f"DROP INDEX {name}"), f"{name} is missing")

    def difference_after(self, change: str) -> str | None:
        """Return the difference that a statement makes, and undo the statement."""
        with connection.cursor() as cursor:
            cursor.execute("SAVEPOINT before_change")
            cursor.execute(change)
            difference = difference_from_models()
            cursor.execute("ROLLBACK TO SAVEPOINT before_change")
        return difference


class RunTests(SimpleTestCase):
    def test_make_run_reports_an_older_database_with_the_next_step(self):
        folder: Path = self.enterContext(fresh_copy())
        make = [sys.executable, "-c", MAKE_OLDER_DATABASE, str(folder / ".postgres")]
        subprocess.run(make, cwd=folder, check=True)
        run = Run(folder, stderr=subprocess.PIPE)
        _, error = run.process.communicate()
        self.assertEqual(run.process.returncode, 1)
        self.assertIn("Another version of rivergen made the database", error)
        self.assertIn(f"rm -r {folder / '.postgres'}", error)
        self.assertNotIn("Traceback", error)
