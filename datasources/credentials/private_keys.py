"""Private keys of data sources: opened with their passphrase before they are stored."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError

from datasources.connections.ssh.pasted_keys import check_private_key
from datasources.connections.ssh.private_keys import KeyRefused
from datasources.credentials.cipher import UnreadableError
from datasources.models import DataSource

KEY = "ssh_private_key"
PASSPHRASE = "ssh_private_key_passphrase"


class OpenedKey(str):
    """A private key in mended form that was opened with a passphrase.

    Opening may take a second, so that it is done once on the way from a request to its row.
    """

    passphrase: str | None

    def __new__(cls, text: str, passphrase: str | None) -> "OpenedKey":
        key = super().__new__(cls, text)
        key.passphrase = passphrase
        return key

    def __repr__(self) -> str:
        return "<secret>"


def open_entered_key(data_source: DataSource, entered: Mapping[str, Any]) -> dict[str, str]:
    """Return the entered private key, opened; nothing if none is entered.

    Key and passphrase may come in two requests: what is not entered is read from the data source.
    A passphrase is checked against the stored key, too. Raises ValidationError, by field.
    """
    if entered.get(KEY) is None and (KEY in entered or entered.get(PASSPHRASE) is None):
        return {}
    stored = stored_secrets(data_source, {KEY, PASSPHRASE} - entered.keys())
    key, passphrase = ({**stored, **entered}.get(field) for field in (KEY, PASSPHRASE))
    if key is None or (isinstance(key, OpenedKey) and key.passphrase == passphrase):
        return {}
    try:
        opened, _ = check_private_key(key, passphrase)
    except KeyRefused as error:
        if KEY not in entered and not error.is_passphrase:
            return {}  # the stored key was unreadable before
        field = PASSPHRASE if error.is_passphrase else KEY
        raise ValidationError({field: str(error)}) from None
    return {KEY: OpenedKey(opened, passphrase)} if KEY in entered else {}


def stored_secrets(data_source: DataSource, fields: set[str]) -> dict[str, str]:
    """Return those of the secrets that are stored and readable. They are not sent anywhere."""
    secrets: dict[str, str] = {}
    if data_source.pk is None or not fields:
        return secrets
    for credential in data_source.credentials.filter(field__in=fields):
        try:
            secrets[credential.field] = credential.open(credential.destination)
        except UnreadableError:
            continue
    return secrets
