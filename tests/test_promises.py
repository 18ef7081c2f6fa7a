"""The numbers that the documentation promises are those of the code.

Each promise is a part of a page, written with the value that the code goes by. What happens at
the limit is tested beside the code of each.
"""

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.validators import MaxLengthValidator, MaxValueValidator, MinValueValidator
from django.test import SimpleTestCase

from datasources import filters, jobs, preconditions
from datasources.bulk.input import UPDATES_MAX
from datasources.connection_tests import models as connection_tests
from datasources.connection_tests import serializers as connection_test_serializers
from datasources.connection_tests import throttling, verification, waiting
from datasources.connections.connectors import CONNECTORS
from datasources.connections.sandbox import lockdown
from datasources.declarations import input as declarations
from datasources.declarations import parsers as declaration_parsers
from datasources.declarations import reading, references
from datasources.management.commands import worker
from datasources.models import UPDATABLE_FIELDS, DataSource, querysets, validators
from datasources.models.changing import REVISION_BYTES
from datasources.schemas.reading.sandbox import READING_SECONDS_MAX
from datasources.schemas.snapshots import content, pruning
from organizations.idempotency.models import ANSWERS_KEPT_FOR, RECORD_BYTES
from organizations.sign_in import attempts, hashing, passwords
from rivergen.http import addresses, pagination, parsers, serializers
from rivergen.postgresql import replica
from rivergen.server.headers import CONTENT_TYPE_MAX_LENGTH

MIB, GIB = 1024**2, 1024**3
TOKENS: Any = settings.SIMPLE_JWT
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def promises() -> dict[str, list[str]]:
    """Return by page the parts of it that have a number."""
    tests_limit, tests_seconds = settings.RATE_LIMIT_TEST
    user_limit, user_seconds = settings.RATE_LIMIT_USER
    assert (tests_seconds, user_seconds) == (60, 60)
    return {
        "README.md": [f"for {len(CONNECTORS)} types of sources"],
        "docs/api.md": [
            f"at most {settings.REQUEST_BODY_MAX_BYTES // MIB} MiB, uncompressed",
            f"Can be repeated, up to {filters.REPEATS_MAX} times: with any of these values",
            f"Can be repeated, up to {validators.TAGS_MAX_COUNT} times: with all of these tags",
            f"(at most {filters.SEARCH_MAX_LENGTH} characters)",
            f"more than {preconditions.CHANGED_SINCE_MAX}, only the first "
            f"{preconditions.CHANGED_SINCE_MAX} are listed",
            f"Within {ANSWERS_KEPT_FOR // HOUR} hours the",
            f"updates up to {UPDATES_MAX} data sources",
            f"{parsers.CONTAINERS_MAX:,} brackets",
            f"{settings.REQUEST_BODY_MAX_BYTES:,} digits of numbers",
            f"`Content-Type` {CONTENT_TYPE_MAX_LENGTH} bytes",
            f"| {serializers.MOST_UNKNOWN_NAMES_REPORTED}, and how many more there are |",
            f"| {validators.METADATA_MAX_DEPTH} levels |",
            f"| {pagination.PAGE_SIZE_MAX} entries, or {pagination.PAGE_BYTES_MAX // MIB} MiB;",
            f"| {settings.QUOTA_DATA_SOURCES:,} ([`QUOTA_DATA_SOURCES`]",
            f"| {settings.QUOTA_HISTORY_BYTES // GIB} GiB ([`QUOTA_HISTORY_BYTES`]",
            f"| {settings.QUOTA_KEPT_ANSWER_BYTES // GIB} GiB in {ANSWERS_KEPT_FOR // HOUR} hours",
            f"| {settings.QUOTA_WORKSPACES:,}; {settings.QUOTA_MEMBERS:,} |",
            f"| {user_limit:,} per minute in each web process",
            f"| {tests_limit} per minute ([`RATE_LIMIT_TEST`]",
            f"{throttling.RUNNING_MAX} connection tests at the same time",
            f"`POST /data-sources/apply` | {declarations.DATA_SOURCES_MAX} |",
            f"ids in one `POST /data-sources/test` | {connection_test_serializers.IDS_MAX} |",
        ],
        "docs/connection-tests.md": [
            f"(0 to {waiting.WAIT_MAX_SECONDS})",
            f"within {verification.MAX_SECONDS} seconds at most",
            f"| {lockdown_memory()} of memory, {lockdown.DESCRIPTORS_MAX} descriptors",
            f"{lockdown.THREADS_MAX:,} threads more",
        ],
        "docs/declarations.md": [
            f"up to {reading.PROBLEMS_MAX} at once",
            f"up to {references.FILE_BYTES_MAX:,} bytes",
            f"at most {declaration_parsers.VALUES_MAX:,} keys and values",
            f"at most {declarations.DATA_SOURCES_MAX} data sources",
        ],
        "docs/schemas.md": [
            f"neither among the last {pruning.KEPT_COUNT} of their data source",
            f"in the last {pruning.KEPT_DAYS} days",
            f"| A whole refresh | {READING_SECONDS_MAX // 60} minutes |",
            f"| Tables | {content.TABLES_MAX:,} |",
            f"| Size of a schema | {content.BYTES_MAX // MIB} MiB |",
            f"| Size of a table | {content.TABLE_BYTES_MAX // MIB} MiB,",
            f"| Size of {content.BLOCK_TABLES} consecutive tables | "
            f"{content.BLOCK_BYTES_MAX // MIB} MiB |",
        ],
        "docs/commands.md": [
            f"(`--count`, {pruning.KEPT_COUNT} by default)",
            f"within `--days` days, {pruning.KEPT_DAYS} by default",
        ],
        "docs/sign-in.md": [
            f"| Access token | {TOKENS['ACCESS_TOKEN_LIFETIME'] // MINUTE} minutes |",
            f"| Refresh token | {TOKENS['REFRESH_TOKEN_LIFETIME'] // DAY} days,",
            f"fewer than {passwords.OTHER_CHARACTERS_MIN} characters besides these words",
            f"{attempts.FIRST_WAIT_SECONDS} seconds after the last failure",
            f"4, 8 and {attempts.MAX_WAIT_SECONDS // 60} minutes",
            f"addresses of a /{addresses.CLIENT_PREFIX} network",
            f"per IPv6 network (/{addresses.SITE_PREFIX})",
            f"hashes at most {['', 'one', 'two', 'three', 'four'][hashing.HASHES_AT_A_TIME]} at a",
        ],
        "docs/operating.md": [
            f"`failed` in the last {jobs.FAILED_JOBS_KEPT_HOURS // 24} days",
            f"alive in the last {jobs.STALLED_AFTER_SECONDS} s",
            f"more than {querysets.OVERDUE_AFTER // MINUTE} minutes",
            f"or after {worker.GRACEFUL_SECONDS} seconds",
        ],
        "docs/scaling.md": [
            f"avoids the replica for {replica.RETRY_AFTER_SECONDS} seconds",
            f"{REVISION_BYTES} more; an answer as its bytes, and {RECORD_BYTES} more",
        ],
    }


def lockdown_memory() -> str:
    return f"{lockdown.MEMORY_MAX_BYTES // GIB} GiB"


class PromisesTests(SimpleTestCase):
    def test_pages_have_the_numbers_of_the_code(self) -> None:
        for page, parts in promises().items():
            text = " ".join((settings.BASE_DIR / page).read_text().split())
            for part in parts:
                with self.subTest(page, part=part):
                    self.assertIn(part, text)

    def test_results_of_tests_are_kept_for_one_day(self) -> None:
        self.assertEqual(connection_tests.KEPT_FOR, DAY)
        text = (settings.BASE_DIR / "docs/connection-tests.md").read_text()
        self.assertIn("Results can be fetched for one day.", text)

    def test_table_of_fields_has_the_limits_and_defaults_of_the_model(self) -> None:
        page = (settings.BASE_DIR / "docs/api.md").read_text()
        table = page.partition("## Fields of a data source")[2]
        rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
        for name in UPDATABLE_FIELDS:
            field = DataSource._meta.get_field(name)
            limits = {type(one): one.limit_value for one in field.validators if is_limit(one)}  # type: ignore[union-attr]
            same = re.search(r"As `(\w+)`", rows[name])
            row = rows[same[1] if same else name].replace(",", "")
            with self.subTest(name, row=row):
                if MaxValueValidator in limits:
                    low, high = limits[MinValueValidator], limits[MaxValueValidator]
                    self.assertIn(f"{low}–{high}", row)
                if MaxLengthValidator in limits:
                    self.assertRegex(row, rf"(Up to |–){limits[MaxLengthValidator]} characters")
                self.assertIn(f"| {'yes' if field.null else 'no'} |", row)
                if isinstance(field.default, int) and not isinstance(field.default, bool):  # type: ignore[union-attr]
                    self.assertTrue(row.endswith(f"| {field.default}"))  # type: ignore[union-attr]


def is_limit(validator: object) -> bool:
    return isinstance(validator, MaxLengthValidator | MaxValueValidator | MinValueValidator)
