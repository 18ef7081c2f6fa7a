"""Users on the command line: named, or made with a password that nobody sees."""

import getpass
import sys
from argparse import ArgumentParser

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from organizations.models import User

NEW_USER_HELP = (
    "make the user, who is not there yet; the password is asked for, or is the first line of "
    "standard input if that is no terminal"
)


def add_user_argument(parser: ArgumentParser) -> None:
    """Let a command take `--new-user`."""
    parser.add_argument("--new-user", action="store_true", help=NEW_USER_HELP)


def find_or_make_user(username: str, is_new: bool) -> User:
    """Give the user of a name. Raises CommandError if there is none, or is one if it is new."""
    user = User.objects.filter(username=username).first()
    if is_new:
        if user is not None:
            raise CommandError(f"There is a user {username} already; leave --new-user out.")
        return make_user(username)
    if user is None:
        raise CommandError(f"There is no user {username}; add --new-user to make one.")
    if not user.is_active:
        raise CommandError(f"The user {username} is deactivated.")
    return user


def make_user(username: str) -> User:
    """Make a user. Raises CommandError for a bad name, or a password that is not good enough."""
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
    """Read a password, from a terminal twice. Raises CommandError if the second is another one."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass(f"Password of {username}: ")
    if getpass.getpass("Once more: ") != password:
        raise CommandError("These were two passwords.")
    return password
