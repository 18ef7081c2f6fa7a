"""Django REST Framework as in its tutorial: a ModelViewSet and a ModelSerializer.

Served as `bench.baselines.drf_plain:application`.
"""

import os
from typing import Any

import django
from django.conf import settings
from django.urls import include, path
from psycopg.conninfo import conninfo_to_dict

url = conninfo_to_dict(os.environ["DATABASE_URL"])
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    AUTH_USER_MODEL="drf_models.User",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url["dbname"],
            "USER": url.get("user", ""),
            "PASSWORD": url.get("password", ""),
            "HOST": url.get("host", ""),
            "PORT": url.get("port", ""),
            "CONN_MAX_AGE": 60,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "rest_framework",
        "bench.baselines.drf_models",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework_simplejwt.authentication.JWTAuthentication"
        ],
        "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ["SECRET_KEY"],
    SIMPLE_JWT={"SIGNING_KEY": os.environ["TOKEN_KEY"], "AUDIENCE": "rivergen"},
    USE_TZ=True,
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import transaction  # noqa: E402
from rest_framework import serializers, viewsets  # noqa: E402
from rest_framework.routers import SimpleRouter  # noqa: E402

from bench.baselines.drf_models.models import DataSource, Revision  # noqa: E402


class DataSourceSerializer(serializers.ModelSerializer):
    """All fields; those set by the server are read-only."""

    class Meta:
        model = DataSource
        fields = "__all__"
        read_only_fields = ("organization", "workspace", "version", "created_at", "updated_at")


class DataSourceViewSet(viewsets.ModelViewSet):
    """The data sources of the caller's organizations."""

    serializer_class = DataSourceSerializer

    def get_queryset(self) -> Any:
        data_sources = DataSource.objects.filter(organization__memberships__user=self.request.user)
        if self.request.method == "PATCH":
            return data_sources.select_for_update(of=("self",))
        if self.action == "list":
            return data_sources.order_by("name", "id")[:50]
        return data_sources

    @transaction.atomic
    def partial_update(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        return super().partial_update(request, *args, **kwargs)

    def perform_update(self, serializer: Any) -> None:
        before = {name: getattr(serializer.instance, name) for name in serializer.validated_data}
        data_source = serializer.save(
            version=serializer.instance.version + 1, updated_by=self.request.user
        )
        Revision.objects.create(
            data_source=data_source,
            version=data_source.version,
            changed_by=self.request.user,
            changes={
                name: {"from": old, "to": getattr(data_source, name)}
                for name, old in before.items()
            },
        )


router = SimpleRouter(trailing_slash=False)
router.register("data-sources", DataSourceViewSet, basename="data-source")
urlpatterns = [path("api/v1/", include(router.urls))]
application = get_wsgi_application()
