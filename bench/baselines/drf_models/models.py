"""Unmanaged models of the columns of rivergen's tables that the benchmark uses."""

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models


class User(AbstractUser):
    """A user."""

    class Meta:
        managed = False
        db_table = "organizations_user"


class Organization(models.Model):
    """A tenant."""

    name = models.CharField(max_length=255)

    class Meta:
        managed = False
        db_table = "organizations_organization"

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A user's membership in an organization."""

    organization = models.ForeignKey(
        Organization, on_delete=models.CASCADE, related_name="memberships"
    )
    user = models.ForeignKey(User, on_delete=models.CASCADE)
    role = models.CharField(max_length=16)

    class Meta:
        managed = False
        db_table = "organizations_membership"

    def __str__(self) -> str:
        return self.role


class DataSource(models.Model):
    """A data source."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE)
    workspace_id = models.BigIntegerField()
    name = models.CharField(max_length=255)
    type = models.CharField(max_length=32)
    description = models.CharField(max_length=10_000, blank=True)
    host = models.CharField(max_length=253, null=True)
    port = models.IntegerField(null=True)
    database_name = models.CharField(max_length=255, null=True)
    schema_name = models.CharField(max_length=255, null=True)
    connection_string = models.CharField(max_length=4_096, null=True)
    file_path = models.CharField(max_length=1_000, null=True)
    use_ssh_tunnel = models.BooleanField()
    ssh_host = models.CharField(max_length=253, null=True)
    ssh_port = models.IntegerField(null=True)
    ssh_username = models.CharField(max_length=255, null=True)
    ssh_local_port = models.IntegerField(null=True)
    connection_pool_size = models.IntegerField()
    connection_timeout = models.IntegerField()
    query_timeout = models.IntegerField()
    max_retries = models.IntegerField()
    schema_auto_refresh = models.BooleanField()
    schema_refresh_interval = models.IntegerField()
    metadata = models.JSONField()
    tags = ArrayField(models.CharField(max_length=64))
    status = models.CharField(max_length=16)
    version = models.BigIntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    updated_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        managed = False
        db_table = "datasources_datasource"

    def __str__(self) -> str:
        return self.name


class Revision(models.Model):
    """A revision of a data source."""

    data_source = models.ForeignKey(DataSource, on_delete=models.CASCADE)
    version = models.BigIntegerField()
    changed_at = models.DateTimeField(auto_now_add=True)
    changed_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True)
    origin = models.CharField(max_length=16, default="api")
    request_id = models.CharField(max_length=128, default="")
    changes = models.JSONField()

    class Meta:
        managed = False
        db_table = "datasources_datasourcerevision"

    def __str__(self) -> str:
        return f"{self.data_source_id}, version {self.version}"
