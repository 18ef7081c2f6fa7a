#!/usr/bin/env python
"""The command line of the service: `manage.py help` lists the commands."""

import os
import sys
from pathlib import Path

from rivergen.hidden_environment import hide_environment


def main() -> None:
    """Run the command that the arguments name."""
    # Imported here, to start again without having imported Django.
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    from datasources.management.commands import generate_key
    from rivergen.local.keys import use_local_keys_if_there

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rivergen.settings")
    if sys.argv[1:2] == ["generate_key"]:
        # Must work without settings, which need a key.
        generate_key.Command().run_from_argv(sys.argv)
        sys.exit()
    use_local_keys_if_there(Path(__file__).parent / ".local")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Not configured: {error}")
    except OperationalError as error:
        reason = str(error).partition("\n")[0]
        sys.exit(f"The database cannot be used: {reason}\nSee: python manage.py doctor")


if __name__ == "__main__":
    hide_environment()
    main()
