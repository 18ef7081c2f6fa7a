"""Wrong passwords: how many somebody may try, over the API, on the pages, and from anywhere."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from io import StringIO
from threading import Barrier
from typing import Any
from unittest import mock

import time_machine
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F
from django.test import Client, TransactionTestCase

from organizations.models import User
from organizations.sign_in.attempts import FORGOTTEN_AFTER, FREE_OF_BOTH, FREE_OF_ONE
from organizations.sign_in.models import SignInCount
from organizations.sign_in.throttling import SignInThrottle, UsernameThrottle
from organizations.testing import PASSWORD, APITestCase, APITestMixin
from rivergen.testing.gunicorn import gunicorn

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
# How long a test may take where a wait is measured, which is of at least 30.
PATIENCE_SECONDS = 20
WAITS = (30, 60, 120, 240, 480, 900, 900)
THREADS = 30
BARRIER_TIMEOUT = 60
LOGIN = "/admin/login/"


class SignInMixin(APITestMixin):
    """Tries passwords."""

    def sign_in(
        self, password: str = "wrong", username: str = "edith", address: str = "192.0.2.1"
    ) -> Any:
        body = {"username": username, "password": password}
        return self.call("post", "/auth/token", body, REMOTE_ADDR=address)

    def guess(self, times: int, **options: str) -> None:
        """Enter so many wrong passwords, each of which is looked at."""
        for _ in range(times):
            self.assert_error(self.sign_in(**options), 401, "UNAUTHORIZED")

    def assert_waits(self, seconds: int, **options: str) -> None:
        response = self.sign_in(**options)
        self.assert_error(response, 429, "TOO_MANY_REQUESTS")
        assert seconds - PATIENCE_SECONDS < int(response["Retry-After"]) <= seconds


class LockoutTests(SignInMixin, APITestCase):
    def setUp(self) -> None:
        self.clock = self.enterContext(time_machine.travel(NOON, tick=False))
        for throttle in (SignInThrottle, UsernameThrottle):
            self.enterContext(mock.patch.object(throttle, "limit", 10_000))

    def wait(self, seconds: float) -> None:
        """Let time go by for this process and, which has a clock of its own, the database."""
        passed = timedelta(seconds=seconds)
        self.clock.shift(passed)
        columns = ("counted_at", "failed_at")
        SignInCount.objects.update(**{column: F(column) - passed for column in columns})

    def test_waits_for_longer_after_each_failure(self):
        for username in ("edith", "nobody", "Edith"):
            with self.subTest(username=username):
                self.guess(FREE_OF_BOTH, username=username)
                for seconds in WAITS:
                    self.assert_waits(seconds, username=username)
                    self.wait(seconds - PATIENCE_SECONDS)
                    self.assert_waits(PATIENCE_SECONDS, username=username)
                    self.assert_waits(PATIENCE_SECONDS, username=username, password=PASSWORD)
                    self.wait(PATIENCE_SECONDS)
                    self.guess(1, username=username)
                SignInCount.objects.filter(username="").delete()

    def test_a_success_begins_anew(self):
        self.guess(FREE_OF_BOTH - 1)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        self.guess(FREE_OF_BOTH)
        self.assert_waits(30, password=PASSWORD)
        self.wait(30)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        self.guess(FREE_OF_BOTH)

    def test_it_is_forgotten_after_an_hour_without_a_failure(self):
        self.guess(FREE_OF_BOTH)
        self.wait(FORGOTTEN_AFTER.total_seconds() + 1)
        self.guess(FREE_OF_BOTH)
        self.assert_waits(30)
        self.assertEqual(SignInCount.objects.count(), 3)

    def test_a_machine_whose_clock_is_fast_lets_nobody_in(self):
        self.guess(FREE_OF_BOTH)
        self.clock.shift(2 * FORGOTTEN_AFTER)
        self.assert_waits(30)

    def test_the_user_gets_in_from_elsewhere(self):
        self.guess(FREE_OF_BOTH)
        self.assert_waits(30, password=PASSWORD)
        self.assertEqual(self.sign_in(PASSWORD, address="192.0.2.2").status_code, 200)
        self.assert_waits(30, password=PASSWORD)

    def test_guesses_from_many_addresses_end_too(self):
        for number in range(FREE_OF_ONE):
            self.guess(1, address=f"192.0.2.{number}")
        self.assert_waits(30, address="198.51.100.1", password=PASSWORD)
        self.assertEqual(self.sign_in(PASSWORD, username="victor").status_code, 200)
        self.wait(30)
        self.assertEqual(self.sign_in(PASSWORD, address="198.51.100.1").status_code, 200)

    def test_guesses_about_many_users_end_too(self):
        for number in range(FREE_OF_ONE):
            self.guess(1, username=f"user {number}")
        self.assert_waits(30, password=PASSWORD)
        self.assertEqual(self.sign_in(PASSWORD, address="192.0.2.2").status_code, 200)
        self.wait(30)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        # Which takes back its own attempt, and not the failures.
        self.guess(1, username="somebody")
        self.assert_waits(60, password=PASSWORD)

    def test_an_own_account_buys_no_guesses(self):
        for number in range(FREE_OF_ONE):
            self.assertEqual(self.sign_in(PASSWORD, username="victor").status_code, 200)
            self.guess(1, username=f"user {number}")
        self.assert_waits(30, username="victor", password=PASSWORD)

    def test_what_is_refused_is_not_counted(self):
        self.guess(FREE_OF_BOTH)
        for _ in range(2 * FREE_OF_ONE):
            self.assert_waits(30)
        self.assertEqual(self.sign_in(PASSWORD, username="victor").status_code, 200)
        self.assertEqual(self.sign_in(PASSWORD, address="192.0.2.2").status_code, 200)
        self.wait(30)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)

    def test_a_user_signs_in_no_oftener_than_the_limit_from_all_addresses(self):
        with mock.patch.object(UsernameThrottle, "limit", 3):
            for number in range(3):
                response = self.sign_in(PASSWORD, address=f"192.0.2.{number}")
                self.assertEqual(response.status_code, 200)
            self.assert_waits(60, password=PASSWORD, address="192.0.2.9")
            self.assertEqual(self.sign_in(PASSWORD, username="victor").status_code, 200)
            self.wait(60)
            self.assertEqual(self.sign_in(PASSWORD).status_code, 200)

    def test_an_unknown_user_takes_as_long(self):
        User.objects.filter(username="victor").update(is_active=False)
        for username in ("edith", "victor", "nobody"):
            encode = mock.patch.object(MD5PasswordHasher, "encode", autospec=True)
            with self.subTest(username=username), encode as encoded:
                encoded.side_effect = lambda hasher, password, salt, *rest: f"md5${salt}$x"
                self.sign_in(username=username)
                self.assertEqual(encoded.call_count, 1)

    def test_what_is_refused_is_not_looked_at(self):
        self.guess(FREE_OF_BOTH)
        with mock.patch.object(MD5PasswordHasher, "encode") as encode:
            self.assert_waits(30, password=PASSWORD)
        encode.assert_not_called()

    def test_no_username_is_stored(self):
        self.guess(1, username="hunter2")
        with connection.cursor() as cursor:
            cursor.execute("SELECT counted::text FROM organizations_signincount AS counted")
            texts = [text for (text,) in cursor.fetchall()]
            cursor.execute("SELECT counted::text FROM organizations_requestcount AS counted")
            texts += [text for (text,) in cursor.fetchall()]
        self.assertEqual(len(texts), 5)
        self.assertNotIn("hunter2", "".join(texts))
        with self.settings(SECRET_KEY="another"):
            self.guess(1, username="hunter2")
        self.assertEqual(SignInCount.objects.exclude(username="").count(), 4)

    def test_refresh_tokens_go_on(self):
        token = self.sign_in(PASSWORD).json()["data"]["refresh_token"]
        for number in range(FREE_OF_ONE):
            self.guess(1, username=f"user {number}")
        self.assert_waits(30, password=PASSWORD)
        response = self.call("post", "/auth/token/refresh", {"refresh_token": token})
        self.assertEqual(response.status_code, 200)

    # manage.py unlock

    def unlock(self, *arguments: str) -> str:
        output = StringIO()
        call_command("unlock", *arguments, stdout=output)
        return output.getvalue()

    def test_an_operator_lets_a_user_in_again(self):
        for number in range(FREE_OF_ONE):
            self.guess(1, address=f"192.0.2.{number % 8}")
        self.assert_waits(30, password=PASSWORD)
        self.assertEqual(self.unlock("Edith"), "Edith had not failed within the last hour.\n")
        self.assertEqual(self.unlock("edith"), "edith may try again.\n")
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        self.assertEqual(self.unlock("edith"), "edith had not failed within the last hour.\n")

    def test_an_operator_lets_an_address_in_again(self):
        for number in range(FREE_OF_ONE):
            self.guess(1, username=f"user {number % 8}")
        self.assert_waits(30, password=PASSWORD)
        output = self.unlock("--address", "192.0.2.1")
        self.assertEqual(output, "192.0.2.1 may try again.\n")
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)

    def test_an_operator_says_whom(self):
        for arguments in ((), ("edith", "--address", "192.0.2.1")):
            with self.subTest(arguments), self.assertRaises(CommandError):
                self.unlock(*arguments)

    # The admin pages

    def log_in(self, password: str = "wrong", username: str = "olivia") -> Any:
        User.objects.filter(username="olivia").update(is_staff=True)
        return Client(REMOTE_ADDR="192.0.2.1").post(
            LOGIN, {"username": username, "password": password}
        )

    def test_the_pages_are_entered_by_the_same_rules(self):
        for _ in range(FREE_OF_BOTH - 1):
            self.assertContains(self.log_in(), "correct username and password")
        self.guess(1, username="olivia")
        for password in ("wrong", PASSWORD):
            response = self.log_in(password)
            self.assertContains(response, "Too many attempts to sign in have failed.")
            self.assertContains(response, "30 seconds")
        self.assert_waits(30, username="olivia", password=PASSWORD)
        self.wait(30)
        self.assertEqual(self.log_in(PASSWORD).status_code, 302)
        self.assertEqual(self.log_in(PASSWORD).status_code, 302)

    def test_the_pages_are_not_for_everybody(self):
        self.assertContains(self.log_in(PASSWORD, "victor"), "correct username and password")
        self.assertContains(self.log_in(""), "This field is required")
        self.assertContains(self.log_in("", "nobody"), "This field is required")

    def test_the_pages_and_tokens_share_a_limit(self):
        with mock.patch.object(SignInThrottle, "limit", 2):
            self.guess(1, username="victor")
            self.assertEqual(self.log_in(PASSWORD).status_code, 302)
            self.assertContains(self.log_in(PASSWORD), "Request was throttled")
            self.assert_waits(60, password=PASSWORD)


class ManyGuessesTests(SignInMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def at_once(self, send: Any) -> list[Any]:
        """Call `send(number)` in many threads at the same time; give what it gives."""
        start = Barrier(THREADS, timeout=BARRIER_TIMEOUT)

        def run(number: int) -> Any:
            start.wait()
            try:
                return send(number)
            finally:
                connection.close()

        with ThreadPoolExecutor(THREADS) as pool:
            return [*pool.map(run, range(THREADS))]

    def assert_as_many_as_one_after_another(self, statuses: list[int]) -> None:
        self.assertEqual(statuses.count(401), FREE_OF_BOTH)
        self.assertEqual(statuses.count(429), THREADS - FREE_OF_BOTH)

    def test_many_guesses_at_once_are_no_more(self):
        answers = self.at_once(lambda number: self.sign_in(f"guess {number}"))
        self.assert_as_many_as_one_after_another([answer.status_code for answer in answers])

    def test_many_guesses_at_once_by_many_processes_are_no_more(self):
        def send(number: int) -> int:
            http = HTTPConnection("127.0.0.1", port, timeout=BARRIER_TIMEOUT)
            body = f'{{"username": "edith", "password": "guess {number}"}}'
            headers = {"Content-Type": "application/json"}
            http.request("POST", "/api/v1/auth/token", body, headers)
            status = http.getresponse().status
            http.close()
            return status

        with gunicorn() as (_, port):
            self.assert_as_many_as_one_after_another(self.at_once(send))

    def test_many_who_know_the_password_are_not_locked_out(self):
        statuses = []
        for answer in self.at_once(lambda number: self.sign_in(PASSWORD)):
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                self.assertEqual(answer["Retry-After"], "1")
        self.assertEqual({*statuses} - {429}, {200})
        self.assertGreaterEqual(statuses.count(200), FREE_OF_BOTH)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        # None is taken for a failure afterwards.
        counts = SignInCount.objects.values_list("username", "attempts")
        self.assertEqual([*counts], [("", 0)])

    def test_locks_nobody_for_ever_where_many_fail_and_succeed(self):
        def send(number: int) -> int:
            user = ("edith", "victor", "adam", "nobody")[number % 4]
            address = f"192.0.2.{number % 3}"
            password = PASSWORD if number % 2 else "wrong"
            return int(self.sign_in(password, user, address).status_code)

        for _ in range(3):
            self.assertLessEqual({*self.at_once(send)}, {200, 401, 429})
