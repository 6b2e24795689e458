"""``python -m lclstream``: the same as the ``lclstream`` command."""

from lclstream.cli.main import main

main()
