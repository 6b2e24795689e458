"""For scientists: ``for batch in lclstream.open("stream.json")``.

A consumer dials every buffer of the stream and keeps a few batches on their way ahead of the one being
worked on. Asking for the next batch acknowledges the one before: a batch that was not finished goes to
another consumer of the group, so each is worked on at least once.
"""

import contextlib
import queue
import socket
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lclstream.connection import Addresses, Connection, read_connection
from lclstream.decode import Arrays, decode_payload
from lclstream.pki import Credentials
from lclstream.protocol import (
    Attach,
    Attached,
    BatchId,
    Detach,
    Fetch,
    Reason,
    Refusal,
    StreamEnd,
    read_answer,
)
from lclstream.transport import PATIENCE, Puller, Reply, Requester, TransportError
from lclstream.wire import Header, Kind, decode, is_message

PREFETCH = 4
"""Batches of each buffer that are on their way ahead of the one being worked on."""

_GOODBYE_SECONDS = 2.0


class StreamError(Exception):
    """A stream that can't be consumed, or did not end as it should."""


class StreamRefused(StreamError):
    """The stream doesn't let this consumer in."""


class StreamFailed(StreamError):
    """The stream ended before everything was delivered; what arrived is good.

    Attributes:
        end: how it ended and why.
    """

    def __init__(self, end: StreamEnd) -> None:
        super().__init__(f"stream {end.outcome}: {end.reason or 'no reason given'}")
        self.end = end


class Batch(Mapping[str, NDArray[np.generic]]):
    """Some events of a stream: name of a field -> array of shape (events, ...).

    The arrays are decoded when the first is asked for.

    Attributes:
        raw: the message as it came; an HDF5 message is a valid HDF5 file, envelope included.
        header: its envelope.
    """

    def __init__(self, raw: memoryview, header: Header, payload: memoryview) -> None:
        self.raw, self.header, self._payload = raw, header, payload

    @property
    def events(self) -> int:
        """How many events there are."""
        return self.header.events

    @property
    def shard(self) -> int:
        """Which part of the run they are from."""
        return self.header.shard

    @property
    def sequence(self) -> int:
        """Number of the batch within its shard, from 0."""
        return self.header.sequence

    @property
    def metadata(self) -> dict[str, Any]:
        """Where the events are from; start and stop are of the source's count."""
        return {
            "stream": self.header.stream,
            "shard": self.header.shard,
            "sequence": self.header.sequence,
            "start": self.header.start,
            "stop": self.header.stop,
            "encoding": self.header.encoding,
        }

    @cached_property
    def _arrays(self) -> Arrays:
        return decode_payload(self.header.encoding, self._payload)

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"<Batch shard={self.shard} sequence={self.sequence} events={self.events}>"


class Consumer(Iterator[Batch]):
    """An iterator over the batches of a stream; made by `open`.

    Iteration stops when the stream is complete. If it failed or was canceled, `StreamFailed` is raised
    after the last batch that did arrive.

    Attributes:
        connection: how the stream is reached.
        end: how the stream ended; None until then.
    """

    def __init__(
        self,
        connection: Connection,
        credentials: Credentials,
        *,
        group: str,
        prefetch: int,
        patience: float,
    ) -> None:
        self.connection = connection
        self.end: StreamEnd | None = None
        self._arrived: queue.Queue[_Arrival] = queue.Queue()
        self._done: tuple[_Link, BatchId] | None = None
        name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        attach = Attach(stream=connection.stream, group=group, consumer=name)
        link = _LeaseLink if connection.mode == "lease" else _PushLink
        self._links: list[_Link] = [
            link(buffer, credentials, attach, self._arrived, prefetch, patience)
            for buffer in connection.buffers
        ]
        self._open = set(self._links)
        for each in self._links:
            each.start()

    def __next__(self) -> Batch:
        """The next batch; acknowledges the one before.

        Raises:
            StopIteration: the stream is complete.
            StreamFailed: it is not, and this was all.
            StreamRefused: the stream doesn't let this consumer in.
            TransportError: a buffer can't be reached.
        """
        self._finish_last()
        while self._open:
            link, arrival = self._arrived.get()
            match arrival:
                case Batch():
                    self._done = (link, (arrival.shard, arrival.sequence))
                    return arrival
                case StreamEnd():
                    self._open.discard(link)
                    self.end = _worse(self.end, arrival)
                case Exception():
                    self.close()
                    raise arrival
        self.close()
        if self.end and self.end.outcome != "completed":
            raise StreamFailed(self.end)
        raise StopIteration

    def close(self) -> None:
        """Leave the stream; batches not acknowledged go to other consumers."""
        self._done = None
        self._open.clear()
        for link in self._links:
            link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_links", None):
            self.close()

    def _finish_last(self) -> None:
        if self._done:
            link, batch = self._done
            self._done = None
            if link in self._open:
                link.finished(batch)


def open(  # noqa: A001 - lclstream.open is what the module is for
    target: str | Path,
    *,
    group: str = "default",
    prefetch: int = PREFETCH,
    patience: float = PATIENCE,
) -> Consumer:
    """Consume a stream.

    Args:
        target: a connection file.
        group: consumers of the same group share the batches; every group gets them all.
        prefetch: batches of each buffer on their way ahead of the one being worked on.
        patience: seconds to go on trying to reach a buffer, at first and after a lost connection.

    Returns:
        An iterator over the batches, which is a context manager too.

    Raises:
        SpecError: the target is no connection file.
        PkiError: its credentials can't be used: expired, or another stream's.
    """
    connection, credentials = read_connection(Path(target))
    return Consumer(connection, credentials, group=group, prefetch=prefetch, patience=patience)


_Arrival = tuple["_Link", "Batch | StreamEnd | Exception"]


class _Link(ABC):
    """A connection to one buffer, with a thread that puts what arrives into the consumer's queue."""

    def __init__(
        self,
        buffer: Addresses,
        credentials: Credentials,
        attach: Attach,
        arrived: "queue.Queue[_Arrival]",
        prefetch: int,
        patience: float,
    ) -> None:
        self._buffer, self._credentials, self._attach = buffer, credentials, attach
        self._arrived, self._prefetch, self._patience = arrived, prefetch, patience
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True, name="lclstream-consumer")

    def start(self) -> None:
        self._thread.start()

    @abstractmethod
    def finished(self, batch: BatchId) -> None:
        """The consumer is done with a batch."""

    @abstractmethod
    def close(self) -> None:
        """Leave; returns when the buffer knows, or can't be told."""

    @abstractmethod
    def _run(self) -> None:
        """Put arrivals into the queue until the end is among them."""

    def _guarded(self) -> None:
        try:
            self._run()
        except Exception as error:  # noqa: BLE001 - carried to the consumer's own thread
            if not self._closed.is_set():
                self._arrived.put((self, error))

    def _put(self, message: memoryview) -> bool:
        """Pass on what came; false after the end."""
        if not is_message(message):
            answer = read_answer(message)
            raise StreamRefused(answer.message if isinstance(answer, Refusal) else f"unexpected {answer}")
        header, payload = decode(message)
        if header.kind is Kind.DATA:
            self._arrived.put((self, Batch(message, header, payload)))
            return True
        self._arrived.put((self, StreamEnd.model_validate_json(bytes(payload))))
        return False


class _LeaseLink(_Link):
    """Fetches batches and acknowledges them: each finished batch makes room for one more fetch."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._fetches: queue.Queue[tuple[Fetch, Reply] | None] = queue.Queue()
        self._requester: Requester | None = None

    def finished(self, batch: BatchId) -> None:
        if self._requester:
            with contextlib.suppress(TransportError):
                self._fetch(self._requester, Fetch(acknowledge=[batch]))

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._fetches.put(None)
        if self._requester:
            _detach(self._requester)
            self._requester.close()

    def _run(self) -> None:
        requester = Requester(
            self._buffer.lease or "",
            self._credentials,
            self._buffer.server_name,
            patience=self._patience,
        )
        with requester:
            self._join(requester)
            self._requester = requester
            for _ in range(self._prefetch):
                self._fetch(requester, Fetch())
            while in_flight := self._fetches.get():
                fetch, reply = in_flight
                message = reply.wait()
                if _refused_as(message, "not-attached"):
                    # The connection was lost and is back; what it carried is asked for again.
                    self._join(requester)
                    self._fetch(requester, fetch)
                elif not self._put(message):
                    break
            self.close()

    def _join(self, requester: Requester) -> None:
        answer = read_answer(requester.request(self._attach.encode()))
        if not isinstance(answer, Attached):
            raise StreamRefused(answer.message if isinstance(answer, Refusal) else f"{answer}")

    def _fetch(self, requester: Requester, fetch: Fetch) -> None:
        self._fetches.put((fetch, requester.submit(fetch.encode())))


class _PushLink(_Link):
    """Takes what a buffer pushes; at most once, there is nothing to acknowledge."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._room = threading.Semaphore(self._prefetch)
        self._puller: Puller | None = None

    def finished(self, batch: BatchId) -> None:  # noqa: ARG002 - nothing is acknowledged
        self._room.release()

    def close(self) -> None:
        self._closed.set()
        self._room.release()
        if self._puller:
            self._puller.close()

    def _run(self) -> None:
        puller = Puller(
            self._buffer.push or "",
            self._credentials,
            self._buffer.server_name,
            patience=self._patience,
        )
        with puller:
            self._puller = puller
            self._room.acquire()
            while not self._closed.is_set() and self._put(puller.receive()):
                self._room.acquire()


def _refused_as(message: memoryview, reason: Reason) -> bool:
    """Whether this is a refusal for this reason."""
    if is_message(message):
        return False
    answer = read_answer(message)
    return isinstance(answer, Refusal) and answer.reason == reason


def _detach(requester: Requester) -> None:
    """Say goodbye: requests arrive in order, so the answer means that all acknowledgements arrived."""
    limit = threading.Timer(_GOODBYE_SECONDS, requester.close)
    limit.start()
    try:
        requester.request(Detach().encode())
    except TransportError:
        pass  # the buffer is gone; it has given our batches to others, or they are lost with it
    finally:
        limit.cancel()


def _worse(one: StreamEnd | None, other: StreamEnd) -> StreamEnd:
    """The end of a stream whose buffers ended so: the totals add up, the worst outcome counts."""
    if one is None:
        return other
    rank = ("completed", "canceled", "failed")
    worst = max(one, other, key=lambda end: rank.index(end.outcome))
    return worst.model_copy(
        update={"events": one.events + other.events, "batches": one.batches + other.batches}
    )
