"""The app of the admin, apart from its site: apps are loaded before the site can be imported."""

from django.contrib.admin import apps


class AdminConfig(apps.AdminConfig):
    """Django's admin with our site."""

    default_site = "rivergen.http.admin.AdminSite"
