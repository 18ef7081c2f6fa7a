"""Jobs in the Django admin: the permission to look at them is not enough to act on them."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from procrastinate.contrib.django.admin import ProcrastinateJobAdmin
from procrastinate.contrib.django.models import ProcrastinateJob

admin.site.unregister(ProcrastinateJob)


@admin.register(ProcrastinateJob)
class JobAdmin(ProcrastinateJobAdmin):
    """Jobs, which staff with the `change` permission may retry, cancel and abort."""

    def get_actions(self, request: HttpRequest) -> Any:
        # The library's actions name no permission, so that `view` would be enough.
        may_act = request.user.has_perm("procrastinate.change_procrastinatejob")
        return super().get_actions(request) if may_act else {}
