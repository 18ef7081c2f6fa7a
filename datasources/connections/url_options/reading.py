"""What the options of a connection string mean, and why one is refused."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from django.core.exceptions import ValidationError

from datasources.connections.url_options.option import NO_EFFECT, Options, fold

# A name that may be repeated: no part of a password that was not escaped looks like it.
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
SHOWN_MAX = 40

IN_THE_ADDRESS = "Write it before the path: scheme://user@host:port/database."
FILE = "It names a file, and no files of this service are used. Leave it out."
BY_NAME = "The server is named by its host name or address only."
CODE = "It would run commands or read files. Leave it out."
ALWAYS_VERIFIED = "Certificates are verified whenever TLS is used. Leave it out."
KERBEROS = "There is no login by Kerberos. Enter a password in the credentials."
# Advice for options that no type takes, by their names without `-` and `_`, in lower case.
ADVICE = {
    **dict.fromkeys(("host", "hostaddr", "hostname", "server", "port"), IN_THE_ADDRESS),
    **dict.fromkeys(("service", "servicefile", "unixsocket", "socket", "socketpath"), BY_NAME),
    **dict.fromkeys(
        (
            *("passfile", "sslcert", "sslkey", "sslcrl", "sslcrldir", "sslca", "sslrootcert"),
            *("sslidentity", "tlscafile", "tlscertificatekeyfile", "sslcacerts", "sslcertfile"),
            *("sslcapath", "tlscrlfile", "sslkeyfile", "sslcafile", "serversslcert", "cafile"),
            *("readdefaultfile", "defaultfile", "defaultsfile", "credentialspath"),
            "walletlocation",
            *("sslkeystore", "truststore", "cert", "key", "cacert", "clientcert", "configdir"),
            *("trustcertificatekeystoreurl", "clientcertificatekeystoreurl", "sslcrlpath"),
            *("privatekeypath", "privatekeyfile"),
            *("sslpassword", "sslkeylogfile", "sslclientcertpem", "certificate"),
        ),
        FILE,
    ),
    **dict.fromkeys(("initcommand", "initsql", "sessionvariables", "connectioninitsql"), CODE),
    **dict.fromkeys(("krbsrvname", "gsslib", "gssdelegation", "gssapiservicename"), KERBEROS),
    **dict.fromkeys(("trustedconnection", "integratedsecurity"), KERBEROS),
    "odbcconnect": "Write what it contains as mssql://user@host:1433/database instead.",
    "authmechanismproperties": "Only logins by name and password are possible. Leave it out.",
    "authenticator": "Only logins by password or token are possible. Leave it out.",
    "requireauth": "Passwords are never sent in clear without TLS anyway. Leave it out.",
    "replication": "Only ordinary connections are possible. Leave it out.",
    "sqlmode": "The mode of the server is used. Leave it out.",
    "verify": ALWAYS_VERIFIED,
    "skipverify": ALWAYS_VERIFIED,
}


def read_options(
    options: Options, written: Sequence[tuple[str, str]], *, may_be_named: bool
) -> dict[str, str]:
    """Return what written options mean: values by the options of the driver and the fields.

    Raises ValidationError (400) if one is not taken, has an invalid value, or contradicts another.
    Its sentence has no value, and no unknown name unless they `may_be_named`.
    """
    meant: dict[str, tuple[str, ...]] = {}
    writers: dict[str, str] = {}
    read: set[str] = set()
    for name, value in written:
        known = options.find(name)
        if known is None:
            raise ValidationError(refusal(name, options, may_be_named=may_be_named))
        option = options[known]
        if known in read:
            raise ValidationError(f"The option {known} is given twice. Write it once.")
        read.add(known)
        values = option.read(value)
        if not values:
            advice = ADVICE.get(fold(known), "")
            raise ValidationError(f"The option {known} takes {option.takes}. {advice}".rstrip())
        target = known if option.sets is None else option.sets
        if target == NO_EFFECT:
            continue
        both = tuple(value for value in meant.get(target, values) if value in values)
        if not both:
            pair = f"{writers[target]} and {known}"
            raise ValidationError(f"The options {pair} contradict each other. Leave one out.")
        meant[target], writers[target] = both, known
    return {target: values[0] for target, values in meant.items()}


def refusal(name: str, options: Options, *, may_be_named: bool) -> str:
    """Return the sentence for an option that the type does not take."""
    if len(name) <= SHOWN_MAX and (advice := ADVICE.get(fold(name))):
        return f"The option {name} is not taken. {advice}"
    known = ", ".join(name for name in options if options[name].sets is None) or "none"
    if not (may_be_named and NAME.fullmatch(name)):
        return f"Has an option that is not taken. Taken: {known}."
    near = get_close_matches(fold(name), map(fold, options), n=1, cutoff=0.8)
    if near and (meant := options.find(near[0])):
        return f"The option {name} is not known. Did you mean {meant}?"
    return f"The option {name} is not taken. Taken: {known}."
