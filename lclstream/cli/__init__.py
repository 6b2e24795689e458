"""The ``lclstream`` command."""
