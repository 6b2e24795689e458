"""The ingest address: takes batches from workers, and word from the runtime.

One thread receives and is never held up: it answers everything but batches at once, and puts batches
and shard ends in line, in the order they came. A second thread takes them from there into the store and
waits when that is full; whoever sent them gets no answer until then, which is the backpressure. A worker
may have so many requests unanswered and no more, and what a lost connection had in line is forgotten
(its worker sends it again), so the line holds at most that many messages for each worker connected.
"""

import threading
from collections import Counter, deque

from pydantic import ValidationError
from structlog import get_logger

from lclstream.pki import Credentials
from lclstream.protocol import Hello, LoseShard, ProtocolError, ShardEnd, Stop, Stored, Words, read_ingest
from lclstream.transport import Peer, Request, Responder
from lclstream.wire import Header, Kind, WireError, decode, is_message
from lclstream_buffer import threads
from lclstream_buffer.owner import Owner
from lclstream_buffer.shards import Refused, Shards
from lclstream_buffer.store import Sealed, Store

MAX_IN_FLIGHT = 64
"""Unanswered batches of one connection; a worker's window has to be smaller."""

_CONTROL_BYTES = 1 << 20
_EMPTY = memoryview(b"")

_log = get_logger(component="ingest")


class Ingest:
    """Listens for workers.

    Args:
        url: where.
        credentials: the buffer's.
        shards: the books.
        store: where batches go.
        max_message: largest batch in bytes.
        owner: told what happens.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        shards: Shards,
        store: Store,
        *,
        max_message: int,
        owner: Owner,
    ) -> None:
        self._shards, self._store, self._owner = shards, store, owner
        self._line: deque[Request] = deque()
        self._in_line: Counter[int] = Counter()
        self._arrived = threading.Condition()
        self._closed = False
        self._threads: list[threading.Thread] = []
        # A little more than a batch, so that one slightly too large gets an answer that says so.
        self._responder = Responder(
            url, credentials, max_message=max_message + _CONTROL_BYTES, on_disconnect=self._left
        )
        self.url = self._responder.url

    @property
    def workers(self) -> int:
        """How many workers are connected."""
        return sum(peer.role == "worker" for peer in self._responder.peers)

    @property
    def peers(self) -> int:
        """How many connections there are, the runtime's included."""
        return len(self._responder.peers)

    def start(self) -> None:
        """Begin to answer."""
        self._threads = [
            threads.start("ingest", self._receive, self._owner),
            threads.start("storing", self._store_all, self._owner),
        ]

    def close(self) -> None:
        """Stop answering; the store must have been sealed."""
        self._responder.close()
        with self._arrived:
            self._closed = True
            self._line.clear()
            self._arrived.notify()
        for thread in self._threads:
            thread.join()

    def _receive(self) -> None:
        while True:
            request = self._responder.receive()
            try:
                answer = self._handle(request)
            except Refused as refused:
                answer = _refuse(request.peer, refused)
            except ProtocolError as error:
                answer = _refuse(request.peer, Refused("invalid", str(error)))
            if answer:
                request.reply(answer.encode())
            del request, answer  # or the message would live until the next one comes

    def _handle(self, request: Request) -> Words | None:
        if not is_message(request.body):
            return self._control(request)
        self._queue(request)
        return None

    def _queue(self, request: Request) -> None:
        _check_role(request.peer, "worker", "send batches")
        with self._arrived:
            if self._in_line[request.peer.id] >= MAX_IN_FLIGHT:
                raise Refused("conflict", f"more than {MAX_IN_FLIGHT} batches unanswered")
            self._in_line[request.peer.id] += 1
            self._line.append(request)
            self._arrived.notify()

    def _control(self, request: Request) -> Words:
        words = read_ingest(request.body)
        match words:
            case Hello():
                _check_role(request.peer, "worker", "say hello")
                return self._shards.welcome(words)
            case LoseShard():
                _check_role(request.peer, "operator", "give up a shard")
                self._shards.lose(words)
                _log.warning("shard lost", shard=words.shard, reason=words.reason)
            case Stop():
                _check_role(request.peer, "operator", "stop the stream")
                self._owner.stop(words)
        return Stored()

    def _store_all(self) -> None:
        while (request := self._next()) is not None:
            try:
                self._store_one(request.body)
                answer: Words = Stored()
            except Refused as refused:
                answer = _refuse(request.peer, refused)
            except (WireError, ValidationError) as error:
                answer = _refuse(request.peer, Refused("invalid", str(error).replace("\n", " ")))
            except Sealed:
                answer = _refuse(request.peer, Refused("over", "the buffer takes in no more"))
            self._owner.progressed()
            self._answered(request.peer)
            request.reply(answer.encode())
            del request

    def _next(self) -> Request | None:
        with self._arrived:
            while not self._line and not self._closed:
                self._arrived.wait()
            return self._line.popleft() if self._line else None

    def _answered(self, peer: Peer) -> None:
        with self._arrived:
            self._in_line[peer.id] -= 1
            if not self._in_line[peer.id]:
                del self._in_line[peer.id]

    def _store_one(self, message: memoryview) -> None:
        header, payload = decode(message)
        if header.kind is Kind.END:
            self._shards.end(header, ShardEnd.model_validate_json(bytes(payload)))
            _log.info("shard ended", shard=header.shard, batches=header.sequence)
        elif self._shards.is_new(header, len(message)):
            self._store_new(header, message)

    def _store_new(self, header: Header, message: memoryview) -> None:
        self._store.put((header.shard, header.sequence), message)
        self._shards.stored(header, len(message))

    def _left(self, peer: Peer) -> None:
        with self._arrived:
            for request in self._line:
                if request.peer.id == peer.id:
                    # Nobody waits for the answer. It is still given, in its turn, to free nng's context.
                    request.body = _EMPTY
        self._owner.workers_changed()


def _check_role(peer: Peer, role: str, what: str) -> None:
    if peer.role != role:
        raise Refused("role", f"a certificate of role {peer.role!r} may not {what}, expected {role!r}")


def _refuse(peer: Peer, refused: Refused) -> Words:
    _log.warning("refused", role=peer.role, connection=peer.id, why=refused.refusal.message)
    return refused.refusal
