"""Batches to the shard's buffer, several on their way at once, each answered when it is stored."""

import threading
from collections import deque
from pathlib import Path

from lclstream.config import BufferSink as Settings
from lclstream.pki import read_credentials
from lclstream.protocol import Answer, Hello, Refusal, Welcome, read_answer
from lclstream.spec import SpecError
from lclstream.transport import Reply, Requester
from lclstream.wire import ReadableBuffer, WritableBuffer
from lclstream_producer.interfaces import Standing

WINDOW = 4
"""Batches on their way at once: waiting for each answer would leave the connection idle in between."""


class Over(Exception):
    """The stream has ended; nobody wants the shard's batches any more."""


class Refused(Exception):
    """The buffer does not take a message."""


class BufferSink:
    """Sends the batches of one shard to the buffer it belongs to.

    Methods raise, besides what they name, `lclstream.transport.TransportError` when the buffer can't be
    reached, `Over` when the stream has ended, and `Refused`.

    Args:
        settings: the buffers; shard i belongs to buffer i mod their number.
        stream: namespace/name.
        shard: which shard.
        shards: how many there are.

    Raises:
        PkiError: the certificate can't be used.
    """

    def __init__(self, settings: Settings, stream: str, shard: int, shards: int) -> None:
        self._address = settings.buffers[shard % len(settings.buffers)]
        self._credentials = read_credentials(Path(settings.tls))
        self._hello = Hello(stream=stream, shard=shard, shards=shards)
        self._requester: Requester | None = None
        self._in_flight: deque[Reply] = deque()
        self._idle = threading.Event()
        self._idle.set()

    def open(self) -> Standing:
        """Dial the buffer and say hello."""
        self._requester = Requester(self._address.url, self._credentials, self._address.server_name)
        answer = _understand(self._requester.request(self._hello.encode()))
        if not isinstance(answer, Welcome):
            raise Refused(f"{self._address.url}: hello answered by {answer.ok}, expected welcome")
        return Standing(answer.sequence, answer.position, answer.events, answer.ended)

    def send(self, message: WritableBuffer) -> None:
        """Send a batch; waits only when `WINDOW` batches are on their way."""
        while len(self._in_flight) >= WINDOW:
            self._settle()
        self._submit(message)

    def end(self, message: WritableBuffer) -> None:
        """Wait for every batch to be stored, then for the end to be."""
        self.drain()
        self._submit(message)
        self.drain()

    def close(self, *, patience: float = 0) -> None:
        """Wait a while for batches on their way to be answered, then close the connection.

        Whoever is waiting for an answer then gets `lclstream.transport.Closed`.
        """
        self._idle.wait(patience)
        if self._requester is not None:
            self._requester.close()

    def drain(self) -> None:
        """Wait for every batch on its way to be stored."""
        while self._in_flight:
            self._settle()

    def _submit(self, message: ReadableBuffer) -> None:
        if self._requester is None:
            raise Refused("the sink is not open")
        self._idle.clear()
        self._in_flight.append(self._requester.submit(message))

    def _settle(self) -> None:
        try:
            _understand(self._in_flight.popleft().wait())
        finally:
            if not self._in_flight:
                self._idle.set()


def _understand(answer: ReadableBuffer) -> Answer:
    """What the buffer answers.

    Raises:
        Over: the stream has ended.
        SpecError: the batch is too large for the buffer.
        Refused: anything else that is no consent.
    """
    words = read_answer(answer)
    if isinstance(words, Refusal):
        if words.reason == "over":
            raise Over(words.message)
        if words.reason == "too-large":
            raise SpecError(f"spec.delivery.memory: {words.message}")
        raise Refused(f"the buffer refuses ({words.reason}): {words.message}")
    return words
