"""Organizations, users and groups in the Django admin, and its sign-in form."""

from django.contrib import admin

from organizations.admin.organizations import OrganizationAdmin as OrganizationAdmin
from organizations.admin.users import GroupAdmin as GroupAdmin
from organizations.admin.users import UserAdmin as UserAdmin
from organizations.sign_in.page import SignInForm

admin.site.login_form = SignInForm
