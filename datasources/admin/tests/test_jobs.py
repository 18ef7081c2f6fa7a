"""Jobs in the Django admin."""

from django.contrib.auth.models import Permission
from procrastinate.contrib.django.models import ProcrastinateJob

from datasources.connection_tests.tasks import test_connection as job
from datasources.testing import DataSourceTestCase
from organizations.models import User

PAGE = "/admin/procrastinate/procrastinatejob/"


class JobAdminTests(DataSourceTestCase):
    def test_staff_who_may_only_look_at_jobs_cannot_act_on_them(self):
        pk = job.defer(test_id="0")
        staff = User.objects.create_user("sam", is_staff=True)
        for codename, status in (("view", "todo"), ("change", "cancelled")):
            [permission] = Permission.objects.filter(codename=f"{codename}_procrastinatejob")
            staff.user_permissions.add(permission)
            self.client.force_login(staff)
            self.assertContains(self.client.get(PAGE), "test_connection")
            self.client.post(PAGE, {"action": "cancel", "_selected_action": [pk]})
            self.assertEqual(ProcrastinateJob.objects.get(pk=pk).status, status)
