"""Entry point of the ``lclstream`` command: a role of the image, or a command for people.

Roles come first and load nothing else: a pod or child process starts in a fraction of the time.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points

ROLES = "lclstream.roles"
"""Entry point group: what a role runs; called with its arguments, returns the exit code."""


def main() -> None:
    """Run the role or command that the arguments name."""
    arguments = sys.argv[1:]
    for entry in entry_points(group=ROLES, name=arguments[0] if arguments else ""):
        role: Callable[[Sequence[str]], int] = entry.load()
        sys.exit(role(arguments[1:]))
    from lclstream.cli.app import app

    app(prog_name="lclstream")
