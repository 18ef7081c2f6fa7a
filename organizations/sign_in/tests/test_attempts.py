"""The lockout after wrong passwords: over the API and on the login page of the admin."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from io import StringIO
from threading import Barrier, BoundedSemaphore, Event, Lock
from typing import Any
from unittest import mock

import time_machine
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F, Sum
from django.test import Client, TransactionTestCase

from organizations.models import User
from organizations.sign_in import attempts, hashing
from organizations.sign_in.attempts import (
    FORGOTTEN_AFTER,
    FREE_FAILURES_ALONE,
    FREE_FAILURES_PER_PAIR,
)
from organizations.sign_in.models import SignInCount
from organizations.sign_in.throttling import SignInThrottle, SiteThrottle, UsernameThrottle
from organizations.testing import PASSWORD, APITestCase, APITestMixin
from rivergen.testing.gunicorn import gunicorn

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
# Seconds of tolerance where a wait of at least 30 seconds is measured.
TOLERANCE_SECONDS = 20
WAITS = (30, 60, 120, 240, 480, 900, 900)
THREADS = 30
BARRIER_TIMEOUT = 60
LOGIN = "/admin/login/"


class SignInMixin(APITestMixin):
    """Requests that try passwords."""

    def sign_in(
        self, password: str = "wrong", username: str = "edith", address: str = "192.0.2.1"
    ) -> Any:
        body = {"username": username, "password": password}
        return self.call("post", "/auth/token", body, REMOTE_ADDR=address)

    def guess(self, times: int, **options: str) -> None:
        """Try wrong passwords, and assert that each is checked and refused."""
        for _ in range(times):
            self.assert_error(self.sign_in(**options), 401, "UNAUTHORIZED")

    def assert_must_wait(self, seconds: int, **options: str) -> None:
        response = self.sign_in(**options)
        self.assert_error(response, 429, "TOO_MANY_REQUESTS")
        assert seconds - TOLERANCE_SECONDS < int(response["Retry-After"]) <= seconds


class LockoutTests(SignInMixin, APITestCase):
    def setUp(self) -> None:
        self.clock = self.enterContext(time_machine.travel(NOON, tick=False))
        for throttle in (SignInThrottle, SiteThrottle, UsernameThrottle):
            self.enterContext(mock.patch.object(throttle, "limit", 10_000))

    def wait(self, seconds: float) -> None:
        """Move the clocks of this process and of the database forward by some seconds."""
        passed = timedelta(seconds=seconds)
        self.clock.shift(passed)
        columns = ("counted_at", "failed_at")
        SignInCount.objects.update(**{column: F(column) - passed for column in columns})

    def test_lockout_doubles_after_each_failure_up_to_15_minutes(self):
        for username in ("edith", "nobody", "Edith"):
            with self.subTest(username=username):
                self.guess(FREE_FAILURES_PER_PAIR, username=username)
                for seconds in WAITS:
                    self.assert_must_wait(seconds, username=username)
                    self.wait(seconds - TOLERANCE_SECONDS)
                    self.assert_must_wait(TOLERANCE_SECONDS, username=username)
                    self.assert_must_wait(TOLERANCE_SECONDS, username=username, password=PASSWORD)
                    self.wait(TOLERANCE_SECONDS)
                    self.guess(1, username=username)
                SignInCount.objects.filter(username="").delete()

    def test_a_successful_sign_in_resets_the_failures(self):
        self.guess(FREE_FAILURES_PER_PAIR - 1)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        self.guess(FREE_FAILURES_PER_PAIR)
        self.assert_must_wait(30, password=PASSWORD)
        self.wait(30)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        self.guess(FREE_FAILURES_PER_PAIR)

    def test_failed_attempts_are_forgotten_after_an_hour(self):
        self.guess(FREE_FAILURES_PER_PAIR)
        self.wait(FORGOTTEN_AFTER.total_seconds() + 1)
        self.guess(FREE_FAILURES_PER_PAIR)
        self.assert_must_wait(30)
        self.assertEqual(SignInCount.objects.count(), 3)

    def test_a_fast_clock_of_a_web_server_does_not_end_the_lockout(self):
        self.guess(FREE_FAILURES_PER_PAIR)
        self.clock.shift(2 * FORGOTTEN_AFTER)
        self.assert_must_wait(30)

    def test_a_locked_user_can_sign_in_from_another_address(self):
        self.guess(FREE_FAILURES_PER_PAIR)
        self.assert_must_wait(30, password=PASSWORD)
        self.assertEqual(self.sign_in(PASSWORD, address="192.0.2.2").status_code, 200)
        self.assert_must_wait(30, password=PASSWORD)

    def test_guesses_from_many_addresses_lock_the_username(self):
        for number in range(FREE_FAILURES_ALONE):
            self.guess(1, address=f"192.0.2.{number}")
        self.assert_must_wait(30, address="198.51.100.1", password=PASSWORD)
        self.assertEqual(self.sign_in(PASSWORD, username="victor").status_code, 200)
        self.wait(30)
        self.assertEqual(self.sign_in(PASSWORD, address="198.51.100.1").status_code, 200)

    def test_guesses_for_many_usernames_lock_the_address(self):
        for number in range(FREE_FAILURES_ALONE):
            self.guess(1, username=f"user {number}")
        self.assert_must_wait(30, password=PASSWORD)
        self.assertEqual(self.sign_in(PASSWORD, address="192.0.2.2").status_code, 200)
        self.wait(30)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        # The successful sign-in is not counted as an attempt, and does not reset the failures.
        self.guess(1, username="somebody")
        self.assert_must_wait(60, password=PASSWORD)

    def test_successful_sign_ins_do_not_reset_the_failures_of_the_address(self):
        for number in range(FREE_FAILURES_ALONE):
            self.assertEqual(self.sign_in(PASSWORD, username="victor").status_code, 200)
            self.guess(1, username=f"user {number}")
        self.assert_must_wait(30, username="victor", password=PASSWORD)

    def test_refused_attempts_are_not_counted(self):
        self.guess(FREE_FAILURES_PER_PAIR)
        for _ in range(FREE_FAILURES_ALONE):
            self.assert_must_wait(30)
        self.assertEqual(self.sign_in(PASSWORD, username="victor").status_code, 200)
        self.assertEqual(self.sign_in(PASSWORD, address="192.0.2.2").status_code, 200)
        self.wait(30)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)

    def test_rate_limit_per_username_counts_all_addresses(self):
        with mock.patch.object(UsernameThrottle, "limit", 3):
            for number in range(3):
                response = self.sign_in(PASSWORD, address=f"192.0.2.{number}")
                self.assertEqual(response.status_code, 200)
            self.assert_must_wait(60, password=PASSWORD, address="192.0.2.9")
            self.assertEqual(self.sign_in(PASSWORD, username="victor").status_code, 200)
            self.wait(60)
            self.assertEqual(self.sign_in(PASSWORD).status_code, 200)

    def test_unknown_and_deactivated_users_cost_one_password_hash_too(self):
        User.objects.filter(username="victor").update(is_active=False)
        for username in ("edith", "victor", "nobody"):
            encode = mock.patch.object(MD5PasswordHasher, "encode", autospec=True)
            with self.subTest(username=username), encode as encoded:
                encoded.side_effect = lambda hasher, password, salt, *rest: f"md5${salt}$x"
                self.sign_in(username=username)
                self.assertEqual(encoded.call_count, 1)

    def test_passwords_are_not_hashed_during_a_lockout(self):
        self.guess(FREE_FAILURES_PER_PAIR)
        with mock.patch.object(MD5PasswordHasher, "encode") as encode:
            self.assert_must_wait(30, password=PASSWORD)
        encode.assert_not_called()

    def test_usernames_are_stored_as_keyed_digests(self):
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

    def test_refresh_tokens_work_during_a_lockout(self):
        token = self.sign_in(PASSWORD).json()["data"]["refresh_token"]
        for number in range(FREE_FAILURES_ALONE):
            self.guess(1, username=f"user {number}")
        self.assert_must_wait(30, password=PASSWORD)
        response = self.call("post", "/auth/token/refresh", {"refresh_token": token})
        self.assertEqual(response.status_code, 200)

    # IPv6

    def test_addresses_of_one_ipv6_64_count_as_one_address(self):
        for number in range(FREE_FAILURES_ALONE):
            address = f"2001:db8:1:2:{number:x}::{number:x}"
            self.guess(1, username=f"user {number}", address=address)
        self.assert_must_wait(30, password=PASSWORD, address="2001:db8:1:2:ffff::1")
        self.assertEqual(self.sign_in(PASSWORD, address="2001:db8:1:3::1").status_code, 200)

    def test_networks_of_one_ipv6_48_share_a_larger_count(self):
        self.assertEqual(attempts.FREE_FAILURES_PER_SITE, 1_000)
        self.enterContext(mock.patch.object(attempts, "FREE_FAILURES_PER_SITE", 40))
        for number in range(40):
            self.guess(1, username=f"user {number}", address=f"2001:db8:1:{number:x}::1")
        self.assert_must_wait(30, password=PASSWORD, address="2001:db8:1:ffff::1")
        self.assertEqual(self.sign_in(PASSWORD, address="2001:db8:2::1").status_code, 200)
        self.assertIn("can sign in again", self.unlock("--address", "2001:db8:1:ffff::7"))
        self.assertEqual(self.sign_in(PASSWORD, address="2001:db8:1:ffff::1").status_code, 200)

    def test_ipv4_client_of_an_ipv6_socket_is_counted_by_its_ipv4_address(self):
        for number in range(FREE_FAILURES_ALONE):
            self.guess(1, username=f"user {number}", address="::ffff:192.0.2.1")
        self.assert_must_wait(30, password=PASSWORD, address="192.0.2.1")
        self.assertEqual(self.sign_in(PASSWORD, address="::ffff:192.0.2.2").status_code, 200)

    # manage.py unlock

    def unlock(self, *arguments: str) -> str:
        output = StringIO()
        call_command("unlock", *arguments, stdout=output)
        return output.getvalue()

    def test_unlock_ends_the_lockout_of_a_username(self):
        for number in range(FREE_FAILURES_ALONE):
            self.guess(1, address=f"192.0.2.{number % 8}")
        self.assert_must_wait(30, password=PASSWORD)
        none = "{} has no failed attempts within the last hour.\n"
        self.assertEqual(self.unlock("Edith"), none.format("Edith"))
        self.assertEqual(self.unlock("edith"), "edith can sign in again.\n")
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        self.assertEqual(self.unlock("edith"), none.format("edith"))

    def test_unlock_ends_the_lockout_of_an_address(self):
        for number in range(FREE_FAILURES_ALONE):
            self.guess(1, username=f"user {number % 8}")
        self.assert_must_wait(30, password=PASSWORD)
        output = self.unlock("--address", "192.0.2.1")
        self.assertEqual(output, "192.0.2.1 can sign in again.\n")
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)

    def test_unlock_needs_either_a_username_or_an_address(self):
        for arguments in ((), ("edith", "--address", "192.0.2.1")):
            with self.subTest(arguments), self.assertRaises(CommandError):
                self.unlock(*arguments)

    # The login page of the admin

    def log_in(self, password: str = "wrong", username: str = "olivia") -> Any:
        User.objects.filter(username="olivia").update(is_staff=True)
        return Client(REMOTE_ADDR="192.0.2.1").post(
            LOGIN, {"username": username, "password": password}
        )

    def test_login_page_and_api_share_the_lockout(self):
        for _ in range(FREE_FAILURES_PER_PAIR - 1):
            self.assertContains(self.log_in(), "correct username and password")
        self.guess(1, username="olivia")
        for password in ("wrong", PASSWORD):
            response = self.log_in(password)
            self.assertContains(response, "Too many failed attempts to sign in.", status_code=429)
            self.assertContains(response, "30 seconds", status_code=429)
            self.assertEqual(response["Retry-After"], "30")
        self.assert_must_wait(30, username="olivia", password=PASSWORD)
        self.wait(30)
        self.assertEqual(self.log_in(PASSWORD).status_code, 302)
        self.assertEqual(self.log_in(PASSWORD).status_code, 302)

    def test_login_page_refuses_non_staff_and_empty_passwords(self):
        self.assertContains(self.log_in(PASSWORD, "victor"), "correct username and password")
        self.assertContains(self.log_in(""), "This field is required")
        self.assertContains(self.log_in("", "nobody"), "This field is required")

    def test_login_page_and_api_share_the_rate_limit(self):
        with mock.patch.object(SignInThrottle, "limit", 2):
            self.guess(1, username="victor")
            self.assertEqual(self.log_in(PASSWORD).status_code, 302)
            refused = self.log_in(PASSWORD)
            self.assertContains(refused, "Request was throttled", status_code=429)
            self.assertIn(int(refused["Retry-After"]), range(1, 61))
            self.assert_must_wait(60, password=PASSWORD)

    # The page of the admin for one's own password

    def test_wrong_current_passwords_count_as_failed_sign_ins(self):
        user = User.objects.get(username="olivia")
        User.objects.filter(pk=user.pk).update(is_staff=True)
        client = Client(REMOTE_ADDR="192.0.2.1")
        client.force_login(user)

        def change(current: str) -> Any:
            new = "nine lives of a cat"
            body = {"old_password": current, "new_password1": new, "new_password2": new}
            return client.post("/admin/password_change/", body)

        for _ in range(FREE_FAILURES_PER_PAIR):
            self.assertContains(change("wrong"), "was entered incorrectly")
        for current in ("wrong", PASSWORD):
            refused = change(current)
            self.assertContains(refused, "Too many failed attempts", status_code=429)
            self.assertEqual(refused["Retry-After"], "30")
        self.wait(30)
        self.assertRedirects(change(PASSWORD), "/admin/password_change/done/")
        self.assertRedirects(
            Client().get("/admin/password_change/"), f"{LOGIN}?next=/admin/password_change/"
        )


class ConcurrentAttemptsTests(SignInMixin, TransactionTestCase):
    def setUp(self) -> None:
        self.make_world()

    def at_once(self, send: Any) -> list[Any]:
        """Call `send(number)` in many threads at the same moment, and return the results."""
        start = Barrier(THREADS, timeout=BARRIER_TIMEOUT)

        def run(number: int) -> Any:
            start.wait()
            try:
                return send(number)
            finally:
                connection.close()

        with ThreadPoolExecutor(THREADS) as pool:
            return [*pool.map(run, range(THREADS))]

    def assert_no_extra_guesses(self, statuses: list[int]) -> None:
        self.assertEqual(statuses.count(401), FREE_FAILURES_PER_PAIR)
        self.assertEqual(statuses.count(429), THREADS - FREE_FAILURES_PER_PAIR)

    def test_concurrent_attempts_get_no_extra_guesses(self):
        with mock.patch.object(hashing, "places", BoundedSemaphore(THREADS)):
            responses = self.at_once(lambda number: self.sign_in(f"guess {number}"))
        self.assert_no_extra_guesses([response.status_code for response in responses])

    def test_passwords_hashed_at_the_same_time_are_bounded(self):
        at_work, most, lock = 0, 0, Lock()
        all_places = Barrier(hashing.HASHES_AT_A_TIME, timeout=BARRIER_TIMEOUT)

        def verify(*_: Any) -> bool:
            nonlocal at_work, most
            with lock:
                at_work += 1
                most = max(most, at_work)
            all_places.wait()
            busy.wait(BARRIER_TIMEOUT)
            with lock:
                at_work -= 1
            return False

        def send(number: int) -> Any:
            username = ("edith", "nobody")[number % 2]
            response = self.sign_in("wrong", username, address=f"192.0.2.{number}")
            if response.status_code == 429:
                refused.append(response)
            if len(refused) == THREADS - hashing.HASHES_AT_A_TIME:
                busy.set()
            return response.status_code

        busy, refused = Event(), list[Any]()
        with (
            mock.patch.object(MD5PasswordHasher, "verify", verify),
            mock.patch.object(MD5PasswordHasher, "encode", verify),
        ):
            statuses = self.at_once(send)
        self.assertEqual(most, hashing.HASHES_AT_A_TIME)
        self.assertEqual(statuses.count(401), hashing.HASHES_AT_A_TIME)
        for response in refused:
            self.assert_error(response, 429, "TOO_MANY_REQUESTS")
            self.assertEqual(response["Retry-After"], "1")
        # An attempt that was not checked is not counted as a failure.
        usernames = SignInCount.objects.exclude(username="").filter(address="")
        total = usernames.aggregate(total=Sum("attempts"))["total"]
        self.assertEqual(total, hashing.HASHES_AT_A_TIME)

    def test_login_page_refuses_a_sign_in_while_all_places_are_taken(self):
        User.objects.filter(username="olivia").update(is_staff=True)
        body = {"username": "olivia", "password": PASSWORD}
        with mock.patch.object(hashing, "places", BoundedSemaphore(1)), hashing.hashing():
            response = Client().post(LOGIN, body)
        self.assertContains(response, "Too many sign-ins at the same time.", status_code=429)
        self.assertEqual(response["Retry-After"], "1")
        self.assertEqual(Client().post(LOGIN, body).status_code, 302)

    def test_concurrent_attempts_in_many_processes_get_no_extra_guesses(self):
        def send(number: int) -> int:
            http = HTTPConnection("127.0.0.1", port, timeout=BARRIER_TIMEOUT)
            body = f'{{"username": "edith", "password": "guess {number}"}}'
            headers = {"Content-Type": "application/json"}
            http.request("POST", "/api/v1/auth/token", body, headers)
            status = http.getresponse().status
            http.close()
            return status

        with gunicorn() as (_, port):
            statuses = self.at_once(send)
            # The processes did not check all at once. Go on until the lockout.
            while send(len(statuses)) == 401:
                statuses.append(401)
        self.assertEqual(statuses.count(401), FREE_FAILURES_PER_PAIR)

    def test_concurrent_right_passwords_lock_nobody_out(self):
        statuses = []
        with mock.patch.object(hashing, "places", BoundedSemaphore(THREADS)):
            responses = self.at_once(lambda number: self.sign_in(PASSWORD))
        for response in responses:
            statuses.append(response.status_code)
            if response.status_code == 429:
                self.assertEqual(response["Retry-After"], "1")
        self.assertEqual({*statuses} - {429}, {200})
        self.assertGreaterEqual(statuses.count(200), FREE_FAILURES_PER_PAIR)
        self.assertEqual(self.sign_in(PASSWORD).status_code, 200)
        # No attempt is counted as a failure afterwards.
        counts = SignInCount.objects.values_list("username", "attempts")
        self.assertEqual([*counts], [("", 0)])

    def test_concurrent_failures_and_successes_cause_no_deadlock(self):
        def send(number: int) -> int:
            user = ("edith", "victor", "adam", "nobody")[number % 4]
            address = f"192.0.2.{number % 3}"
            password = PASSWORD if number % 2 else "wrong"
            return int(self.sign_in(password, user, address).status_code)

        for _ in range(3):
            self.assertLessEqual({*self.at_once(send)}, {200, 401, 429})
