"""The options of PostgreSQL's connection strings: libpq's, and those of other clients."""

import re

from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    DURATION,
    FALSE,
    IDENTITY,
    NAME,
    TRUE,
    WORDS,
    Option,
    Options,
    at_least,
    choice,
    flag,
    hint,
    number,
    one_of,
    options_of,
    setting,
    text,
)

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
UTF8 = hint(one_of("UTF8", "utf-8", "utf8mb4", "unicode", "auto"))
# As in libpq, `disable` is no minimum: together with another mode it contradicts.
AT_LEAST: dict[str, tuple[str, ...]] = {
    "disable": ("disable",),
    **{mode: at_least(MODES, mode) for mode in MODES[1:]},
}
UNVERIFIED: dict[str, tuple[str, ...]] = {"no-verify": ("require",)}  # node-postgres
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")
# Settings of a session that change nothing but what names mean, and for how long to wait. And what
# poolers and clusters choose the database by: Neon, Supabase and CockroachDB.
SESSION_OPTIONS = re.compile(
    r"(endpoint|project|reference)=[A-Za-z0-9._-]{1,100}|--cluster=[A-Za-z0-9._-]{1,100}"
    r"|(-c *|--)(search_path|statement_timeout|lock_timeout|timezone|default_transaction_read_only"
    r"|idle_in_transaction_session_timeout)=[A-Za-z0-9_.,$/\"+-]{1,100}"
)
SESSION_OPTIONS_TAKE = (
    "-csearch_path=…, another setting of sessions (statement_timeout, lock_timeout, timezone, "
    "default_transaction_read_only, idle_in_transaction_session_timeout), endpoint=…, project=…, "
    "reference=… or --cluster=…"
)


def read_session_options(value: str) -> tuple[str, ...]:
    """Return the value of libpq's `options` if all that it sets is harmless."""
    words = re.split(r" +(?=-)", value.strip(" "))
    is_harmless = all(map(SESSION_OPTIONS.fullmatch, words)) and "pg_" not in value.lower()
    return (value,) if is_harmless else ()


# Named in the path, pg_catalog would no longer come first, so that others' functions could.
SCHEMAS = text('(?!.*(?i:pg_))[A-Za-z0-9_,$"-]{1,255}', "names of schemas, joined by commas")


POSTGRESQL = Options(
    CLIENT_HINTS
    | IDENTITY
    | {
        "sslmode": choice(AT_LEAST | UNVERIFIED),
        # asyncpg takes modes here, libpq and others true.
        "ssl": setting(
            "sslmode",
            choice(
                dict.fromkeys(TRUE, at_least(MODES, "require"))
                | dict.fromkeys(FALSE, ("disable",))
                | AT_LEAST
                | UNVERIFIED
            ),
        ),
        "requiressl": setting("sslmode", flag(at_least(MODES, "require"), MODES[2:])),
        "sslaccept": setting(  # Prisma
            "sslmode",
            choice({"strict": ("verify-full",), "accept_invalid_certs": ("prefer", "require")}),
        ),
        # Other values are files.
        "sslrootcert": setting("sslmode", choice({"system": ("verify-full",)})),
        "sslnegotiation": one_of("postgres", "direct"),
        "ssl_min_protocol_version": one_of(*TLS_VERSIONS),
        "sslsni": hint(one_of("1")),
        "sslcompression": hint(one_of("0")),
        "sslcertmode": hint(one_of("disable", "allow")),
        "channel_binding": one_of("disable", "prefer", "require"),
        # Never used: Kerberos connects to hosts that nobody has checked.
        "gssencmode": hint(one_of("disable", "prefer")),
        "connect_timeout": number(),
        "application_name": WORDS,
        "fallback_application_name": hint(WORDS),
        "target_session_attrs": one_of(
            *("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
        ),
        "load_balance_hosts": hint(one_of("disable", "random")),
        "keepalives": flag(("1",), ("0",)),
        "options": Option(SESSION_OPTIONS_TAKE, read_session_options),
        "search_path": SCHEMAS,
        "currentSchema": setting("search_path", SCHEMAS),
        "schema": setting("schema_name", NAME),
        "prepareThreshold": hint(number(-1)),
        "default_query_exec_mode": hint(text("[a-z_]{1,40}", "a mode of pgx")),
        **options_of(hint(WORDS), "supa workaround"),  # Supabase, as Vercel writes it
        "stringtype": hint(one_of("unspecified", "varchar")),
    }
    | options_of(number(), "keepalives_idle keepalives_interval keepalives_count tcp_user_timeout")
    | options_of(
        hint(DURATION), "statement_timeout lock_timeout idle_in_transaction_session_timeout"
    )
    | options_of(UTF8, "client_encoding encoding charset")
    | options_of(
        hint(flag()),
        "pgbouncer async_fallback prepared_statements binary_parameters disable_prepared_binary_"
        "result uselibpqcompat reWriteBatchedInserts tcpKeepAlive",
    )
)
