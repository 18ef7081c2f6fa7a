"""Every route that writes succeeds although its first transaction met a deadlock."""

from django.core.management import call_command
from django.test import TransactionTestCase

from rivergen.testing.deadlocks import deadlock_once
from tests.api.testing.route_table import ROUTES, RoutesMixin


class RouteRetryTests(RoutesMixin, TransactionTestCase):
    def test_every_write_succeeds_after_one_deadlock(self):
        for (method, path), route in ROUTES.items():
            if method == "get":
                continue
            with self.subTest(method=method, path=path):
                self.make_world()
                route.prepare(self.data_source)
                headers = route.headers()
                with deadlock_once() as failed:
                    target = path.format(**self.ids)
                    body = route.body_for(self.ids)
                    response = self.call(method, target, body, self.owner, headers=headers)
                self.assertTrue(failed)
                self.assertEqual(response.status_code, route.success, response.content)
            call_command("flush", interactive=False, verbosity=0, inhibit_post_migrate=True)
