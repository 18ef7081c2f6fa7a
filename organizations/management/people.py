"""Users as command-line arguments, or created with a password from the terminal."""

import getpass
import sys
from argparse import ArgumentParser

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from organizations.models import User

NEW_USER_HELP = (
    "create the user; the password is asked for on a terminal, or read from the first line of "
    "standard input"
)


def add_user_argument(parser: ArgumentParser) -> None:
    """Add the option `--new-user` to a command."""
    parser.add_argument("--new-user", action="store_true", help=NEW_USER_HELP)


def find_or_create_user(username: str, is_new: bool) -> User:
    """Return the active user of this name, or create it if `is_new`.

    Raises CommandError if the user does not exist, or exists although it should be new.
    """
    user = User.objects.filter(username=username).first()
    if is_new:
        if user is not None:
            raise CommandError(f"There is already a user {username}. Omit --new-user.")
        return create_user(username)
    if user is None:
        raise CommandError(f"There is no user {username}. Add --new-user to create it.")
    if not user.is_active:
        raise CommandError(f"The user {username} is deactivated.")
    return user


def create_user(username: str) -> User:
    """Create a user. Raises CommandError for an invalid name or a weak password."""
    user = User(username=username)
    try:
        user.clean_fields(exclude=["password"])
        password = read_password(username)
        validate_password(password, user)
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None
    user.set_password(password)
    user.save()
    return user


def read_password(username: str) -> str:
    """Read a password, twice on a terminal. Raises CommandError if the two differ."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass(f"Password of {username}: ")
    if getpass.getpass("Repeat the password: ") != password:
        raise CommandError("The passwords differ.")
    return password
