"""What the two ways out of a buffer have in common, seen from the buffer."""

from typing import Protocol

from lclstream.protocol import StreamEnd
from lclstream.wire import WHOLE_STREAM, Header, Kind, encode

END_ENCODING = "json"


class Way(Protocol):
    """A way out: `lclstream_buffer.lease.Lease` or `lclstream_buffer.push.Push`."""

    url: str

    @property
    def consumers(self) -> int:
        """How many consumers there are."""

    @property
    def connections(self) -> int:
        """How many connections there are, of consumers and of who is not one yet or not any more."""

    def start(self) -> None:
        """Begin to deliver."""

    def finish(self) -> None:
        """The stream has ended: tell every consumer, as long as they are there."""

    def hang_up(self) -> None:
        """Close every connection without a word; `close` does the rest."""

    def close(self) -> None:
        """Hang up. The store must have ended."""


def end_message(stream: str, end: StreamEnd) -> bytearray:
    """The last message a consumer gets."""
    header = Header(
        stream=stream,
        shard=WHOLE_STREAM,
        sequence=end.batches,
        start=0,
        stop=0,
        events=0,
        encoding=END_ENCODING,
        kind=Kind.END,
    )
    return encode(header, end.encode())
