"""The options of MongoDB's connection strings, as its specification and its drivers have them."""

from dataclasses import replace

from datasources.connections.url_options.option import (
    CLIENT_HINTS,
    FALSE,
    NAME,
    Options,
    flag,
    hint,
    number,
    one_of,
    only,
    options_of,
    setting,
    text,
)

# Other mechanisms read files, call a cloud's metadata service or run programs.
MECHANISMS = ("DEFAULT", "SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN")
LABEL = replace(text(r"[^\x00-\x1f\x7f]{0,64}", "at most 64 characters"), is_label=True)
MILLISECONDS = number()

MONGODB = Options(
    CLIENT_HINTS
    | {
        "appName": LABEL,
        "authMechanism": one_of(*MECHANISMS),
        "authSource": text(r'[^/\\. "\x00-\x1f\x7f]{1,63}', "the name of a database"),
        "directConnection": flag(),
        "loadBalanced": flag(),
        "readPreference": one_of(
            *("primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest")
        ),
        "readConcernLevel": one_of(*("local", "majority", "available", "linearizable", "snapshot")),
        "maxStalenessSeconds": number(-1),
        "localThresholdMS": MILLISECONDS,
        "replicaSet": NAME,
        "retryReads": flag(),
        "retryWrites": flag(),
        "tls": flag(),
        "ssl": setting("tls", flag()),
        "w": text(r"[0-9]{1,3}|[A-Za-z][A-Za-z0-9_-]{0,99}", "a number, or a word like majority"),
        "wTimeoutMS": MILLISECONDS,
        "wTimeout": setting("wTimeoutMS", MILLISECONDS),
        "journal": flag(),
        "j": setting("journal", flag()),
        "uuidRepresentation": one_of(
            *("standard", "unspecified", "pythonLegacy", "javaLegacy", "csharpLegacy")
        ),
        # Compression is a matter of speed. Not all of these are installed.
        "compressors": hint(text("(zlib|zstd|snappy)(,(zlib|zstd|snappy)){0,2}", "zlib or others")),
        "zlibCompressionLevel": hint(number(-1, 9)),
        "serverMonitoringMode": hint(one_of("auto", "stream", "poll")),
        "family": hint(one_of("0", "4", "6")),
    }
    # With TLS, the server is always verified.
    | options_of(
        hint(only(*FALSE)),
        "tlsInsecure tlsAllowInvalidCertificates tlsAllowInvalidHostnames "
        "sslAllowInvalidCertificates sslAllowInvalidHostnames",
    )
    | options_of(
        hint(MILLISECONDS),
        "connectTimeoutMS serverSelectionTimeoutMS socketTimeoutMS waitQueueTimeoutMS timeoutMS "
        "heartbeatFrequencyMS maxIdleTimeMS maxPoolSize minPoolSize maxConnecting "
        "waitQueueMultiple keepAliveInitialDelay srvMaxHosts",
    )
    | options_of(
        hint(flag()),
        "useNewUrlParser useUnifiedTopology useCreateIndex useFindAndModify keepAlive "
        "serverSelectionTryOnce",
    )
)
