"""What the parts of a buffer tell the whole."""

from typing import Protocol

from lclstream.protocol import Stop, StreamEnd


class Owner(Protocol):
    """The buffer, as its addresses see it. Nothing here blocks, so threads of nng may call it."""

    def progressed(self) -> None:
        """A counter has changed."""

    def workers_changed(self) -> None:
        """A worker, or the runtime, has hung up."""

    def consumers_changed(self) -> None:
        """A consumer came, left or was told the end."""

    def stop(self, words: Stop) -> None:
        """The runtime ends the stream."""

    def fail(self, reason: str) -> None:
        """The stream can't go on."""

    def end(self) -> StreamEnd:
        """How the stream ends, for a consumer that has everything it will get."""
