"""Run code while the database is unreachable."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

T = TypeVar("T")


def without_database(function: Callable[[], T]) -> T:
    """Return the result of `function`, called while the database is unreachable.

    A new thread has its own connection, which is pointed at a port where nothing listens.
    """

    def call() -> T:
        connection.settings_dict = {**connection.settings_dict, "HOST": "127.0.0.1", "PORT": "1"}
        return function()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
