"""Make PostgreSQL report a deadlock. `make faults` has real ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

DEADLOCK = "DO $$ BEGIN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END $$"
CHANGES = ("INSERT", "UPDATE", "DELETE", "WITH")


@contextmanager
def deadlock_once() -> Iterator[list[str]]:
    """Fail the first writing statement with a deadlock; yield a list to which it is added."""
    failed: list[str] = []

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if not failed and sql.startswith(CHANGES):
            failed.append(sql)
            return run(DEADLOCK, None, many, context)
        return run(sql, params, many, context)

    with connection.execute_wrapper(execute):
        yield failed
