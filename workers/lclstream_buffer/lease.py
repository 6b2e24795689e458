"""Delivery by lease: consumers fetch batches and acknowledge them; at least once within a group.

One thread receives and is never held up, so that an acknowledgement counts the moment it arrives, even
on a connection whose earlier fetches still wait. Each attached connection has a thread that waits for
the group's next batch and sends it: a consumer that is stuck holds up nobody but itself.
"""

import threading
from queue import SimpleQueue

from structlog import get_logger

from lclstream.pki import Credentials
from lclstream.protocol import (
    VERSION,
    Acknowledge,
    Attach,
    Attached,
    BatchId,
    Detach,
    Fetch,
    ProtocolError,
    Stored,
    Words,
    read_lease,
)
from lclstream.transport import Peer, Request, Responder
from lclstream.wire import ReadableBuffer
from lclstream_buffer import threads
from lclstream_buffer.delivery import end_message
from lclstream_buffer.owner import Owner
from lclstream_buffer.shards import Refused
from lclstream_buffer.spill import SpillError
from lclstream_buffer.store import NotAttached, Store

MAX_FETCHES = 1024
"""Unanswered fetches of one connection; a consumer's prefetch has to be smaller."""

_MAX_REQUEST = 1 << 20
_NOT_ATTACHED = Refused("not-attached", "this connection is not attached to a group, expected attach first")

_log = get_logger(component="lease")


class _Connection:
    """An attached consumer."""

    def __init__(self, peer: Peer, attach: Attach) -> None:
        self.peer, self.group, self.consumer = peer, attach.group, attach.consumer
        self.fetches: SimpleQueue[Request | None] = SimpleQueue()
        self.thread: threading.Thread | None = None


class Lease:
    """Listens for consumers that acknowledge.

    Args:
        url: where.
        credentials: the buffer's.
        stream: namespace/name.
        shards: number of shards of the stream.
        store: where batches come from.
        lease_seconds: what consumers are told.
        owner: told what happens, asked how the stream ends.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        *,
        stream: str,
        shards: int,
        store: Store,
        lease_seconds: int,
        owner: Owner,
    ) -> None:
        self._stream, self._store, self._owner = stream, store, owner
        self._attached = Attached(shards=shards, lease_seconds=lease_seconds)
        self._lock = threading.Lock()
        self._connections: dict[int, _Connection] = {}
        self._senders: set[threading.Thread] = set()
        self._threads: list[threading.Thread] = []
        self._responder = Responder(url, credentials, max_message=_MAX_REQUEST, on_disconnect=self._left)
        self.url = self._responder.url

    @property
    def consumers(self) -> int:
        """How many consumers are attached."""
        with self._lock:
            return len(self._connections)

    @property
    def connections(self) -> int:
        """How many connections there are, attached or not."""
        return len(self._responder.peers)

    def start(self) -> None:
        """Begin to answer."""
        self._threads = [
            threads.start("lease", self._receive, self._owner),
            threads.start("lease-timer", self._store.watch_leases, self._owner),
        ]

    def finish(self) -> None:
        """Tell every consumer that asks, and those that wait, that the stream has ended."""
        self._store.end()

    def hang_up(self) -> None:
        """Close every connection without a word; `close` does the rest."""
        self._responder.close()

    def close(self) -> None:
        """Hang up."""
        self._responder.close()
        with self._lock:
            connections, senders = list(self._connections.values()), list(self._senders)
        for connection in connections:
            connection.fetches.put(None)
        for thread in (*self._threads, *senders):
            thread.join()

    def _receive(self) -> None:
        while True:
            request = self._responder.receive()
            try:
                answer = self._handle(request)
            except Refused as refused:
                _log.warning("refused", connection=request.peer.id, why=refused.refusal.message)
                answer = refused.refusal
            except ProtocolError as error:
                answer = Refused("invalid", str(error)).refusal
            if answer:
                request.reply(answer.encode())

    def _handle(self, request: Request) -> Words | None:
        peer = request.peer
        if peer.role != "consumer":
            raise Refused("role", f"a certificate of role {peer.role!r} may not consume, expected 'consumer'")
        words = read_lease(request.body)
        if isinstance(words, Attach):
            return self._attach(peer, words)
        with self._lock:
            connection = self._connections.get(peer.id)
        if connection is None:
            raise _NOT_ATTACHED
        self._acknowledge(connection, words.acknowledge)
        match words:
            case Fetch():
                if connection.fetches.qsize() >= MAX_FETCHES:
                    raise Refused("conflict", f"more than {MAX_FETCHES} fetches unanswered")
                connection.fetches.put(request)
                return None
            case Detach():
                self._left(peer)
            case Acknowledge():
                pass
        return Stored()

    def _attach(self, peer: Peer, attach: Attach) -> Words:
        if attach.version != VERSION:
            raise Refused("version", f"version {attach.version}, expected {VERSION}")
        if attach.stream != self._stream:
            raise Refused("stream", f"stream {attach.stream!r}, expected {self._stream!r}")
        with self._lock:
            known = self._connections.get(peer.id)
            if known and known.group != attach.group:
                raise Refused("conflict", f"this connection is attached to group {known.group!r} already")
            if known is None:
                self._store.attach(attach.group, peer.id)
                self._connections[peer.id] = self._begin(_Connection(peer, attach))
        if peer not in self._responder.peers:
            # It hung up before it was attached, so word of that came too early.
            self._left(peer)
        _log.info("attached", consumer=attach.consumer, group=attach.group, connection=peer.id)
        self._owner.consumers_changed()
        return self._attached

    def _begin(self, connection: _Connection) -> _Connection:
        def send() -> None:
            try:
                self._send(connection)
            finally:
                with self._lock:
                    self._senders.discard(threading.current_thread())

        connection.thread = threads.start(f"lease-{connection.peer.id}", send, self._owner)
        self._senders.add(connection.thread)
        return connection

    def _acknowledge(self, connection: _Connection, batches: list[BatchId]) -> None:
        if batches and self._store.acknowledge(connection.group, batches):
            self._owner.progressed()

    def _send(self, connection: _Connection) -> None:
        """Answer the fetches of a consumer until it is gone."""
        while (request := connection.fetches.get()) is not None:
            request.reply(self._next(connection))

    def _next(self, connection: _Connection) -> ReadableBuffer:
        try:
            delivery = self._store.lease(connection.group, connection.peer.id)
            if delivery is not None:
                return delivery.read()
        except NotAttached:
            return _NOT_ATTACHED.refusal.encode()
        except SpillError as error:
            self._owner.fail(str(error))
        return end_message(self._stream, self._owner.end())

    def _left(self, peer: Peer) -> None:
        with self._lock:
            connection = self._connections.pop(peer.id, None)
        if connection:
            self._store.detach(connection.group, peer.id)
            connection.fetches.put(None)
            _log.info("left", consumer=connection.consumer, group=connection.group, connection=peer.id)
        self._owner.consumers_changed()
