"""All routes, and the handlers of failures outside of views."""

from django.contrib import admin
from django.urls import include, path

from organizations.sign_in.page import own_password_page, sign_in_page
from rivergen.http.docs import DocsView
from rivergen.http.index import index
from rivergen.http.openapi.view import OpenAPIView
from rivergen.observability.health import healthz, readyz
from rivergen.observability.metrics import metrics

admin.site.site_header = admin.site.site_title = "rivergen"
admin.site.site_url = "/api/docs"

urlpatterns = [
    path("", index),
    path("admin/login/", sign_in_page),
    path("admin/password_change/", own_password_page),
    path("admin/", admin.site.urls),
    path("api/v1/", include("datasources.urls")),
    path("api/v1/", include("organizations.urls")),
    path("api/v1/openapi.json", OpenAPIView.as_view(), name="openapi"),
    path("api/docs", DocsView.as_view(url_name="openapi"), name="docs"),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", metrics),
]

handler400 = "rivergen.http.responses.bad_request"
handler403 = "rivergen.http.responses.permission_denied"
handler404 = "rivergen.http.responses.page_not_found"
handler500 = "rivergen.http.responses.server_error"
