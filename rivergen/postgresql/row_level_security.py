"""The second wall between organizations, in PostgreSQL; docs/isolation.md tells how it stands.

The web signs in as a role that owns nothing. Policies show this role the rows of the organizations
of whoever is asking, whatever the query forgot to ask for, and let it write no others; the backend
says who that is (`postgresql.entrance`). Who said nothing is shown none.
"""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models

ORGANIZATION = "organizations.Organization"
# By model, the field that tells whose a row is: it leads to the organization, or towards it.
PROTECTED = {
    ORGANIZATION: "id",
    "organizations.Workspace": "organization",
    "organizations.Membership": "organization",
    "organizations.IdempotencyRecord": "organization",
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
# What is no organization's, and what the web does there.
EXEMPT = {
    # Found by name before anyone is known, and to be made a member.
    "organizations.User": WRITE,
    # Of addresses and organizations, by their ids: numbers.
    "organizations.RequestCount": WRITE,
    # Of whoever tries to sign in.
    "organizations.SignInCount": WRITE,
    "organizations.UsedRefreshToken": WRITE,
    # Of staff, who see all organizations.
    "organizations.User_groups": WRITE,
    "organizations.User_user_permissions": WRITE,
    "auth.Group": WRITE,
    "auth.Group_permissions": WRITE,
    "auth.Permission": READ,
    "admin.LogEntry": WRITE,
    "contenttypes.ContentType": READ,
    "sessions.Session": WRITE,
    # The web enqueues, which writes an event, too, counts jobs, and asks whether a worker is there.
    "procrastinate.ProcrastinateJob": "SELECT (id, task_name, status), INSERT",
    "procrastinate.ProcrastinateEvent": "INSERT",
    "procrastinate.ProcrastinateWorker": READ,
    "procrastinate.ProcrastinatePeriodicDefer": "",
}
SEQUENCES = ("procrastinate_jobs_id_seq", "procrastinate_events_id_seq")

POLICY = "rivergen_organization"
LOCK_TIMEOUT = "5s"
ORGANIZATIONS, SEES_ALL = "rivergen.organization_ids", "rivergen.sees_all"
# As their owner they see all memberships. What they set ends with the transaction, or with the
# message where there is none, so that whoever has the connection next begins with nothing.
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
# What searches, and names, are found by. PostgreSQL asks no index for them beside a policy, as they
# might tell of rows that are not shown, unless a superuser says that they do not.
SEARCHING = (
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
    """Give each model whose rows are an organization's, and the field that tells whose.

    Raises ImproperlyConfigured for a model of which nobody has said whether they are.
    """
    for model in apps.get_models(include_auto_created=True):
        if model._meta.label in PROTECTED:
            yield model, PROTECTED[model._meta.label]
        elif model._meta.label not in EXEMPT:
            raise ImproperlyConfigured(
                f"{model._meta.label} is in neither PROTECTED nor EXEMPT of {__name__}."
            )


def condition(model: type[models.Model], field_name: str) -> str:
    """Write what a row must be like to be seen, and to be written."""
    field: Any = model._meta.get_field(field_name)
    column = f"{quoted(model._meta.db_table)}.{quoted(field.column)}"
    parent = field.related_model
    if parent is None or parent._meta.label == ORGANIZATION:
        # An array costs twice as much: it is planned for, and read for each row. And of <> the
        # planner assumes that it is so, as it is where the query has asked for the right rows.
        ids = f"current_setting('{ORGANIZATIONS}', true)"
        is_among = f"strpos({ids}, concat(',', {column}, ',')) <> 0"
        return f"{is_among} OR current_setting('{SEES_ALL}', true) = 'on'"
    table, key = quoted(parent._meta.db_table), quoted(parent._meta.pk.column)
    # As whoever asks sees it: that has a policy of its own.
    return f"EXISTS (SELECT FROM {table} parent WHERE parent.{key} = {column})"


def protection(role: str) -> list[str]:
    """Write the statements that raise the wall for a role; they may be run again."""
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
            f"CREATE POLICY {POLICY} ON {table} USING ({condition(model, field_name)})",
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"GRANT {WRITE} ON {table} TO {quoted(role)}",
        ]
    for label, privileges in EXEMPT.items():
        if privileges:
            table = quoted(apps.get_model(label)._meta.db_table)
            statements.append(f"GRANT {privileges} ON {table} TO {quoted(role)}")
    return statements


def removal(role: str) -> list[str]:
    """Write the statements that take the wall down, and from the role what it was granted."""
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


def why_not_held(role: str) -> str | None:
    """Say why row-level security would not hold a role, or None."""
    statement = """
        SELECT rolsuper OR rolbypassrls, pg_has_role(rolname, relowner, 'MEMBER')
        FROM pg_roles, pg_class WHERE rolname = %s AND pg_class.oid = %s::regclass
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [role, apps.get_model(ORGANIZATION)._meta.db_table])
        found = cursor.fetchone()
    if found is None:
        return f"There is no role {role}: CREATE ROLE {quoted(role)} LOGIN PASSWORD '…'"
    if any(found):
        return f"No wall holds {role}: it is a superuser, has BYPASSRLS, or owns the tables."
    return None


def leakproof(is_so: bool) -> list[str]:
    """Write the statements, for a superuser, that let searches go by their indexes, or not."""
    words = "LEAKPROOF" if is_so else "NOT LEAKPROOF"
    return [f"ALTER FUNCTION pg_catalog.{signature} {words}" for signature in SEARCHING]


def tables_in_sight() -> list[str]:
    """Name the tables of organizations that hide no row from the role that is connected."""
    tables = [model._meta.db_table for model, _ in protected_models()]
    statement = "SELECT name FROM unnest(%s::text[]) name WHERE NOT row_security_active(name)"
    with connection.cursor() as cursor:
        cursor.execute(statement, [tables])
        return [name for (name,) in cursor.fetchall()]


def current_schema() -> str:
    """Give the schema that the tables are in."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return quoted(cursor.fetchone()[0])


def quoted(name: str) -> str:
    """Write a name as SQL has it."""
    return connection.ops.quote_name(name)
