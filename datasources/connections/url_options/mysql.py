"""The options of MySQL's connection strings: those of its own clients, and of other drivers."""

import json
from dataclasses import replace

from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    FALSE,
    IDENTITY,
    TRUE,
    WORDS,
    Option,
    Options,
    at_least,
    choice,
    flag,
    hint,
    listed,
    number,
    one_of,
    only,
    options_of,
    setting,
    text,
)

MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
AT_LEAST = {"DISABLED": ("DISABLED",)} | {mode: at_least(MODES, mode) for mode in MODES[1:]}
# The same modes, as PostgreSQL calls them.
SAME = {
    "disable": AT_LEAST["DISABLED"],
    "prefer": AT_LEAST["PREFERRED"],
    "require": AT_LEAST["REQUIRED"],
    "verify-ca": AT_LEAST["VERIFY_CA"],
    "verify-full": AT_LEAST["VERIFY_IDENTITY"],
    "trust": AT_LEAST["REQUIRED"],  # of MariaDB
}
TLS_VERSIONS = ("TLSv1.2", "TLSv1.3")
UNVERIFIED = ("PREFERRED", "REQUIRED")
ON_OR_OFF = dict.fromkeys(TRUE, AT_LEAST["REQUIRED"]) | dict.fromkeys(FALSE, ("DISABLED",))


def read_ssl(value: str) -> tuple[str, ...]:
    """Return the modes for `ssl`: true or false, or the JSON object of the drivers for Node.js."""
    if (modes := (ON_OR_OFF | SAME).get(value.lower())) is not None:
        return modes
    try:
        given = json.loads(value)
    except (ValueError, RecursionError):
        return ()
    if isinstance(given, dict) and given.get("minVersion") in TLS_VERSIONS:
        del given["minVersion"]  # older versions are never used
    if given in ({}, {"rejectUnauthorized": True}):
        return ("VERIFY_IDENTITY",)
    return ("REQUIRED",) if given == {"rejectUnauthorized": False} else ()


MYSQL = Options(
    CLIENT_HINTS
    | IDENTITY
    | {
        "ssl_mode": replace(choice(AT_LEAST | SAME), takes=listed(MODES)),
        "ssl": setting("ssl_mode", Option('true, false or {"rejectUnauthorized":true}', read_ssl)),
        "useSSL": setting("ssl_mode", flag(AT_LEAST["REQUIRED"], ("DISABLED",))),
        "trustServerCertificate": setting("ssl_mode", flag(UNVERIFIED, MODES[1:])),
        "requireSSL": setting("ssl_mode", flag(AT_LEAST["REQUIRED"], MODES[1:])),
        "ssl_disabled": setting("ssl_mode", flag(("DISABLED",), MODES[1:])),
        "verifyServerCertificate": setting("ssl_mode", flag(AT_LEAST["VERIFY_CA"], UNVERIFIED)),
        "ssl_verify_cert": setting("ssl_mode", flag(AT_LEAST["VERIFY_CA"], UNVERIFIED)),
        "ssl_verify_identity": setting("ssl_mode", flag(("VERIFY_IDENTITY",), MODES[1:-1])),
        "tls": setting(  # of Go; its `true` verifies the name
            "ssl_mode",
            choice(
                dict.fromkeys(TRUE, ("VERIFY_IDENTITY",))
                | dict.fromkeys(FALSE, ("DISABLED",))
                | {"skip-verify": ("REQUIRED",), "preferred": UNVERIFIED}
            ),
        ),
        "sslaccept": setting(  # of Prisma
            "ssl_mode",
            choice({"strict": ("VERIFY_IDENTITY",), "accept_invalid_certs": UNVERIFIED}),
        ),
        "charset": text("[A-Za-z0-9_]{1,64}", "the name of a character set, such as utf8mb4"),
        "characterEncoding": hint(one_of("UTF-8", "utf8", "utf8mb4")),
        "encoding": hint(one_of("UTF-8", "utf8", "utf8mb4")),
        "collation": text("[A-Za-z0-9_]{1,64}", "the name of a collation"),
        "connect_timeout": number(),
        "zeroDateTimeBehavior": hint(text("[A-Za-z_]{1,40}", "a behaviour of Connector/J")),
    }
    # No statement or file of the client's choosing, and no key that nobody has verified.
    | options_of(
        hint(only(*FALSE)),
        "local_infile allowLoadLocalInfile allowPublicKeyRetrieval allowCleartextPasswords "
        "allowAllFiles allowOldPasswords",
    )
    | options_of(
        hint(WORDS), "serverTimezone connectionTimeZone loc timezone time_zone default_auth"
    )
    | options_of(
        hint(flag()),
        "parseTime useUnicode allowMultiQueries multiStatements allowNativePasswords "
        "interpolateParams rewriteBatchedStatements cachePrepStmts useServerPrepStmts "
        "tinyInt1isBit nullCatalogMeansCurrent useLegacyDatetimeCode useCursorFetch "
        "forceConnectionTimeZoneToSession useLocalSessionState useInformationSchema "
        "failOverReadOnly supportBigNumbers "
        "waitForConnections multipleStatements bigNumberStrings dateStrings debug compress "
        "useCompression",
    )
)
