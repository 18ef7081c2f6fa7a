"""`python -m bench.schedule`: schema refreshes of 10,000 data sources become due at once.

With two workers running, prints how long enqueuing takes from the first job to the last, whether a
data source got no job or two, and how many schemas the workers then read in a minute (small files,
each read by a separate child process). Exits with 1 if a data source got no job or two.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rivergen.local.run import work
from rivergen.testing.services import prepare

SOURCES = 10_000
ORGANIZATIONS = 100
WORKERS = 2
INTERVAL_SECONDS = 86_400
READING_SECONDS = 60
PATIENCE_SECONDS = 120
# A trigger records every job in a table of the benchmark: workers delete finished jobs.
RECORD_JOBS = """
CREATE TABLE bench_jobs (data_source_id integer, made_at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION bench_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench_jobs VALUES ((NEW.args ->> 'data_source_id')::integer);
    RETURN NEW;
END $$;
CREATE TRIGGER bench_record AFTER INSERT ON procrastinate_jobs FOR EACH ROW
WHEN (NEW.task_name = 'refresh_schema') EXECUTE FUNCTION bench_record()
"""
JOBS = """
SELECT count(*), count(DISTINCT data_source_id), extract(epoch FROM max(made_at) - min(made_at))
FROM bench_jobs
"""


def main() -> int:
    """Create the data sources, make all of them due, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sources", type=int, default=SOURCES, help=f"number of data sources; default: {SOURCES}"
    )
    number = parser.parse_args().sources
    with ExitStack() as stack:
        storage = Path(stack.enter_context(TemporaryDirectory(prefix="bench-"))).resolve()
        prepare("rivergen_bench_schedule", STORAGE_ROOT=str(storage))
        from datasources.connection_tests.testing import wait_until

        make_sources(number, storage)
        for _ in range(WORKERS):
            stack.enter_context(work(log=subprocess.DEVNULL))
        make_due()
        enqueued = f"(SELECT count(*) FROM bench_jobs) >= {number}"
        wait_until(os.environ["DATABASE_URL"], enqueued, PATIENCE_SECONDS)
        finished = count_finished()
        time.sleep(READING_SECONDS)
        read = count_finished() - finished
        jobs, sources, seconds = count_jobs()
    print(f"{jobs:,} jobs for {sources:,} of {number:,} data sources in {seconds:.1f} s")
    print(f"{read:,} schemas read in the {READING_SECONDS} s after that, by {WORKERS} workers")
    return 0 if jobs == sources == number else 1


def make_sources(number: int, storage: Path) -> None:
    """Create data sources of files, none of them due, and start recording jobs."""
    from django.db import connection

    from datasources.models import DataSource
    from organizations.models import Organization

    organizations = [
        Organization.objects.create(name=f"Bench {n}", slug=f"bench-{n}")
        for n in range(ORGANIZATIONS)
    ]
    for organization in organizations:
        (storage / str(organization.pk)).mkdir()
        (storage / str(organization.pk) / "small.csv").write_text("id,name\n1,a\n")
    DataSource.objects.bulk_create(
        DataSource(
            organization=organizations[n % ORGANIZATIONS],
            name=f"{n}",
            type="csv",
            file_path="small.csv",
            schema_auto_refresh=True,
            schema_refresh_interval=INTERVAL_SECONDS,
        )
        for n in range(number)
    )
    with connection.cursor() as cursor:
        cursor.execute(RECORD_JOBS)


def make_due() -> None:
    """Make all data sources due in one statement."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE datasources_datasource SET schema_next_refresh_at = now()")


def count_jobs() -> tuple[int, int, float]:
    """Return the number of jobs, the number of their data sources, and the seconds they took."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(JOBS)
        jobs, sources, seconds = cursor.fetchone()
    return jobs, sources, float(seconds or 0)


def count_finished() -> int:
    """Return the number of schemas that have been read."""
    from datasources.models import DataSource

    return DataSource.objects.filter(schema_refreshed_at__isnull=False).count()


if __name__ == "__main__":
    sys.exit(main())
