"""Stream X-ray experiment data to consumers anywhere.

For consumers, this is all::

    import lclstream

    for batch in lclstream.open("stream.json"):
        batch["detector_data"]  # numpy array, (events, height, width)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lclstream.client import (
        Batch,
        Consumer,
        StreamError,
        StreamFailed,
        StreamRefused,
        open,  # noqa: A004
    )

__all__ = ["Batch", "Consumer", "StreamError", "StreamFailed", "StreamRefused", "open"]


def __getattr__(name: str) -> Any:
    """The client's names, loaded with their first use: the command and the roles don't need them."""
    if name in __all__:
        from lclstream import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
