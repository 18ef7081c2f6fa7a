"""Row-level security: PostgreSQL's own separation of organizations; see docs/isolation.md.

The web server connects as a role that owns nothing. Policies restrict this role to the rows of the
acting user's organizations, even if a query forgets its filter. Each transaction names the acting
user (`postgresql.acting_user`); without one, no row is visible.
"""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models

ORGANIZATION = "organizations.Organization"
# For each model, the field that leads to the organization of a row, directly or by a parent row.
PROTECTED = {
    ORGANIZATION: "id",
    "organizations.Workspace": "organization",
    "organizations.Membership": "organization",
    "organizations.IdempotencyRecord": "organization",
    "organizations.KeptAnswers": "organization",
    "datasources.DataSource": "organization",
    "datasources.DataSourceRevision": "data_source",
    "datasources.Credential": "data_source",
    "datasources.ConnectionTest": "organization",
    "datasources.SchemaRefresh": "data_source",
    "datasources.SchemaSnapshot": "data_source",
    "datasources.SchemaContent": "organization",
    "datasources.SchemaBlock": "content",
}
READ = "SELECT"
WRITE = "SELECT, INSERT, UPDATE, DELETE"
# Models whose rows belong to no organization, and the privileges that web requests need there.
EXEMPT = {
    # Sign-in and adding a member look users up by name.
    "organizations.User": WRITE,
    # Request counts by address or organization: nothing but ids and numbers.
    "organizations.RequestCount": WRITE,
    # Counts of attempts to sign in, before the user is known.
    "organizations.SignInCount": WRITE,
    "organizations.UsedRefreshToken": WRITE,
    # Tables of the Django admin, which only staff use; staff see all organizations.
    "organizations.User_groups": WRITE,
    "organizations.User_user_permissions": WRITE,
    "auth.Group": WRITE,
    "auth.Group_permissions": WRITE,
    "auth.Permission": READ,
    "admin.LogEntry": WRITE,
    "contenttypes.ContentType": READ,
    "sessions.Session": WRITE,
    # Web requests enqueue jobs, which also writes events. They count jobs and look for workers.
    "procrastinate.ProcrastinateJob": "SELECT (id, task_name, status), INSERT",
    "procrastinate.ProcrastinateEvent": "INSERT",
    "procrastinate.ProcrastinateWorker": READ,
    "procrastinate.ProcrastinatePeriodicDefer": "",
}
SEQUENCES = ("procrastinate_jobs_id_seq", "procrastinate_events_id_seq")

POLICY = "rivergen_organization"
LOCK_TIMEOUT = "5s"
ORGANIZATIONS, SEES_ALL = "rivergen.organization_ids", "rivergen.sees_all"
# SECURITY DEFINER: the functions see all memberships, as their owner does. Their settings last
# until the end of the transaction, so that a pooled connection passes nothing to its next client.
FUNCTIONS = f"""
CREATE OR REPLACE FUNCTION {{schema}}.rivergen_see_as(asking bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('{ORGANIZATIONS}', concat(',', (
        SELECT string_agg(membership.organization_id::text, ',')
        FROM {{schema}}.organizations_membership membership
        JOIN {{schema}}.organizations_user member ON member.id = membership.user_id
        WHERE membership.user_id = asking AND member.is_active
    ), ','), true);
END $$;
CREATE OR REPLACE FUNCTION {{schema}}.rivergen_see_all_as(asking bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('{SEES_ALL}', 'on', true) FROM {{schema}}.organizations_user staff
    WHERE staff.id = asking AND staff.is_active AND staff.is_staff;
END $$;
CREATE OR REPLACE FUNCTION {{schema}}.rivergen_read_all() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('{SEES_ALL}', 'on', true), set_config('transaction_read_only', 'on', true);
END $$
"""
# Functions of searches and of lookups by name. Under a policy, PostgreSQL uses no index for them
# unless a superuser marks them LEAKPROOF: they could reveal hidden rows, in an error message say.
SEARCH_FUNCTIONS = (
    "textlike(text, text)",
    "lower(text)",
    "upper(text)",
    "arraycontains(anyarray, anyarray)",
)
SIGNATURES = (
    "rivergen_see_as(bigint)",
    "rivergen_see_all_as(bigint)",
    "rivergen_read_all()",
)


def protected_models() -> Iterator[tuple[type[models.Model], str]]:
    """Yield each model whose rows belong to an organization, and the field that leads there.

    Raises ImproperlyConfigured for a model in neither PROTECTED nor EXEMPT.
    """
    for model in apps.get_models(include_auto_created=True):
        if model._meta.label in PROTECTED:
            yield model, PROTECTED[model._meta.label]
        elif model._meta.label not in EXEMPT:
            raise ImproperlyConfigured(
                f"{model._meta.label} is in neither PROTECTED nor EXEMPT of {__name__}."
            )


def policy_condition(model: type[models.Model], field_name: str) -> str:
    """Return the SQL condition that a row must meet to be read or written."""
    field: Any = model._meta.get_field(field_name)
    column = f"{quoted(model._meta.db_table)}.{quoted(field.column)}"
    parent = field.related_model
    if parent is None or parent._meta.label == ORGANIZATION:
        # strpos in a text: an array costs twice as much, to plan and to parse for each row. With
        # <> the planner assumes that most rows match, as is right for queries with a filter.
        ids = f"current_setting('{ORGANIZATIONS}', true)"
        is_among = f"strpos({ids}, concat(',', {column}, ',')) <> 0"
        return f"{is_among} OR current_setting('{SEES_ALL}', true) = 'on'"
    table, key = quoted(parent._meta.db_table), quoted(parent._meta.pk.column)
    # The policy of the parent table applies to this subquery.
    return f"EXISTS (SELECT FROM {table} parent WHERE parent.{key} = {column})"


def protect_statements(role: str) -> list[str]:
    """Return the SQL that restricts a role to the acting user's rows; safe to run again."""
    schema = current_schema()
    statements = [
        f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'",
        FUNCTIONS.format(schema=schema).strip(),
        f"GRANT USAGE ON SCHEMA {schema} TO {quoted(role)}",
        f"GRANT SELECT ON django_migrations TO {quoted(role)}",
        f"GRANT USAGE ON SEQUENCE {', '.join(SEQUENCES)} TO {quoted(role)}",
    ]
    for signature in SIGNATURES:
        statements.append(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
        statements.append(f"GRANT EXECUTE ON FUNCTION {signature} TO {quoted(role)}")
    for model, field_name in protected_models():
        table = quoted(model._meta.db_table)
        statements += [
            f"DROP POLICY IF EXISTS {POLICY} ON {table}",
            f"CREATE POLICY {POLICY} ON {table} USING ({policy_condition(model, field_name)})",
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"GRANT {WRITE} ON {table} TO {quoted(role)}",
        ]
    for label, privileges in EXEMPT.items():
        if privileges:
            table = quoted(apps.get_model(label)._meta.db_table)
            statements.append(f"GRANT {privileges} ON {table} TO {quoted(role)}")
    return statements


def unprotect_statements(role: str) -> list[str]:
    """Return the SQL that removes the policies, and revokes what the role was granted."""
    schema = current_schema()
    statements = [f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"]
    for model, _ in protected_models():
        table = quoted(model._meta.db_table)
        statements.append(f"DROP POLICY IF EXISTS {POLICY} ON {table}")
        statements.append(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    statements += [f"DROP FUNCTION IF EXISTS {signature}" for signature in SIGNATURES]
    for kind in ("TABLES", "SEQUENCES"):
        statements.append(f"REVOKE ALL ON ALL {kind} IN SCHEMA {schema} FROM {quoted(role)}")
    statements.append(f"REVOKE USAGE ON SCHEMA {schema} FROM {quoted(role)}")
    return statements


def bypass_reason(role: str) -> str | None:
    """Return why row-level security would not restrict a role; None if it would."""
    statement = """
        SELECT rolsuper OR rolbypassrls, pg_has_role(rolname, relowner, 'MEMBER')
        FROM pg_roles, pg_class WHERE rolname = %s AND pg_class.oid = %s::regclass
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [role, apps.get_model(ORGANIZATION)._meta.db_table])
        found = cursor.fetchone()
    if found is None:
        create = f"CREATE ROLE {quoted(role)} LOGIN PASSWORD '…'"
        return f"The role {role} does not exist. Create it: {create}"
    if any(found):
        return (
            f"Row-level security does not restrict {role}: it is a superuser, has BYPASSRLS, or "
            "owns the tables. Use another role."
        )
    return None


def leakproof_statements(is_leakproof: bool) -> list[str]:
    """Return the SQL, for a superuser, that lets searches use their indexes, or stops that."""
    words = "LEAKPROOF" if is_leakproof else "NOT LEAKPROOF"
    return [f"ALTER FUNCTION pg_catalog.{signature} {words}" for signature in SEARCH_FUNCTIONS]


def unprotected_tables() -> list[str]:
    """Return the tables of organizations whose rows the connected role sees without a policy."""
    tables = [model._meta.db_table for model, _ in protected_models()]
    statement = "SELECT name FROM unnest(%s::text[]) name WHERE NOT row_security_active(name)"
    with connection.cursor() as cursor:
        cursor.execute(statement, [tables])
        return [name for (name,) in cursor.fetchall()]


def current_schema() -> str:
    """Return the quoted name of the schema that holds the tables."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return quoted(cursor.fetchone()[0])


def quoted(name: str) -> str:
    """Return a name quoted for SQL."""
    return connection.ops.quote_name(name)
