"""Delivery by push: any nng PULL client with a consumer's certificate; at most once.

A batch counts as delivered when a connection has taken it: nng tells no more, and what a client that
breaks off had not read is lost. Clients share the batches.
"""

import threading

from structlog import get_logger

from lclstream.pki import Credentials
from lclstream.transport import Peer, Pusher
from lclstream_buffer import threads
from lclstream_buffer.delivery import end_message
from lclstream_buffer.owner import Owner
from lclstream_buffer.spill import SpillError
from lclstream_buffer.store import Store

GROUP = "push"
"""The one consumer group of a buffer that pushes."""

REPEAT_SECONDS = 1.0
"""After which clients that are still there are told the end again."""

_MEMBER = 0

_log = get_logger(component="push")


class Push:
    """Listens for nng PULL clients.

    Args:
        url: where.
        credentials: the buffer's.
        stream: namespace/name.
        store: where batches come from.
        owner: told what happens, asked how the stream ends.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        *,
        stream: str,
        store: Store,
        owner: Owner,
    ) -> None:
        self._stream, self._store, self._owner = stream, store, owner
        self._moved = threading.Condition()
        self._closed = False
        self._sender: threading.Thread | None = None
        store.attach(GROUP, _MEMBER)
        self._pusher = Pusher(
            url, credentials, admit=self._admit, on_connect=self._change, on_disconnect=self._change
        )
        self.url = self._pusher.url

    @property
    def consumers(self) -> int:
        """How many clients are connected."""
        return len(self._pusher.peers)

    @property
    def connections(self) -> int:
        """How many connections there are: each is a client."""
        return self.consumers

    def start(self) -> None:
        """Begin to push."""
        self._sender = threads.start("push", self._run, self._owner)

    def finish(self) -> None:
        """Have every client told that the stream has ended, again and again until it hangs up."""
        self._store.end()

    def hang_up(self) -> None:
        """Close every connection without a word; `close` does the rest."""
        self._pusher.close()

    def close(self) -> None:
        """Hang up; what a client has not taken yet is dropped."""
        self._pusher.close()
        with self._moved:
            self._closed = True
            self._moved.notify_all()
        if self._sender:
            self._sender.join()

    def _run(self) -> None:
        try:
            while (delivery := self._store.lease(GROUP, _MEMBER)) is not None:
                self._pusher.send(delivery.read())
                self._store.acknowledge(GROUP, [delivery.batch])
                self._owner.progressed()
        except SpillError as error:
            self._owner.fail(str(error))
        self._send_ends()

    def _send_ends(self) -> None:
        """Tell all: as many ends go out as there are clients, since nng can't be told to whom."""
        end = end_message(self._stream, self._owner.end())
        rounds = 0
        while not self._closed:
            told = self.consumers
            for _ in range(told):
                self._pusher.send(end)
            if rounds == 0:
                self._owner.consumers_changed()
            rounds += 1
            with self._moved:
                # A newcomer is told at once, who stays after all is told again now and then.
                self._moved.wait_for(
                    lambda told=told: self._closed or self.consumers > told,  # type: ignore[misc]
                    REPEAT_SECONDS if told else None,
                )

    def _admit(self, peer: Peer) -> bool:
        if peer.role == "consumer":
            return True
        _log.warning("refused", role=peer.role, connection=peer.id, why="expected role 'consumer'")
        return False

    def _change(self, _: Peer) -> None:
        with self._moved:
            self._moved.notify_all()
        self._owner.consumers_changed()
