"""Sockets that listen: who is connected, their requests, and what is shared out among them."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynng
from pynng import lib

from lclstream.pki import Credentials
from lclstream.transport.connections import look_after
from lclstream.transport.contexts import Slot, Slots
from lclstream.transport.errors import AddressTaken, TransportError
from lclstream.transport.nng import (
    PROTOCOL_HEADER,
    Socket,
    allocate,
    common_name,
    listener_url,
    new_operation,
    owned,
    tls_config,
)
from lclstream.wire import MAX_MESSAGE, ReadableBuffer


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of a connection to a server.

    Attributes:
        id: number of the connection; a reconnected peer has another.
        role: common name of its certificate; empty without TLS.
    """

    id: int
    role: str


PeerCallback = Callable[[Peer], None]


class _Server(Socket):
    """What listening sockets share: the address, and who is connected."""

    def __init__(
        self,
        socket: Any,
        url: str,
        credentials: Credentials | None,
        *,
        max_message: int,
        admit: Callable[[Peer], bool] = lambda _: True,
        on_connect: PeerCallback | None = None,
        on_disconnect: PeerCallback | None = None,
    ) -> None:
        super().__init__(socket, url)
        self._peers: dict[int, Peer] = {}
        self._lock = threading.Lock()
        self._admit, self._on_connect, self._on_disconnect = admit, on_connect, on_disconnect
        socket.recv_max_size, socket.tcp_keepalive = max_message + PROTOCOL_HEADER, True
        look_after(self)
        if credentials:
            socket.tls_config = tls_config(credentials, None)
        socket.add_pre_pipe_connect_cb(self._arriving)
        socket.add_post_pipe_connect_cb(self._arrived)
        socket.add_post_pipe_remove_cb(self._left)
        try:
            socket.listen(url)
        except pynng.exceptions.AddressInUse:
            socket.close()
            raise AddressTaken(f"{url}: address in use, expected a free port") from None
        except pynng.exceptions.NNGException as error:
            socket.close()
            raise TransportError(f"{url}: cannot listen: {error}") from None
        self.url = listener_url(socket)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Who is connected."""
        with self._lock:
            return tuple(self._peers.values())

    def connections(self) -> tuple[int, ...]:
        """Numbers of the connections there are."""
        with self._lock:
            return tuple(self._peers)

    def _peer(self, pipe_id: int) -> Peer | None:
        with self._lock:
            return self._peers.get(pipe_id)

    def _arriving(self, pipe: Any) -> None:
        peer = Peer(pipe.id, common_name(pipe.pipe))
        if self._admit(peer):
            with self._lock:
                self._peers[pipe.id] = peer
        else:
            pipe.close()

    def _arrived(self, pipe: Any) -> None:
        peer = self._peer(pipe.id)
        if peer and self._on_connect:
            self._on_connect(peer)

    def _left(self, pipe: Any) -> None:
        with self._lock:
            peer = self._peers.pop(pipe.id, None)
        if peer and self._on_disconnect:
            self._on_disconnect(peer)


class Request:
    """A request and the way to answer it, from any thread, once."""

    __slots__ = ("_slot", "body", "peer")

    def __init__(self, body: memoryview, peer: Peer, slot: Slot) -> None:
        self.body, self.peer, self._slot = body, peer, slot

    def reply(self, data: ReadableBuffer) -> None:
        """Answer; returns when the connection took the answer, or is gone.

        Raises:
            Closed: the socket was closed.
        """
        try:
            self._slot.send(data)
            self._slot.sent()
        finally:
            self._slot.release()


class Responder(_Server):
    """Answers requests (nng REP). Requests may be kept and answered in any order.

    Args:
        url: where to listen; port 0 stands for any free one, see ``url`` afterwards.
        credentials: who we are and whom we trust; None without TLS.
        max_message: largest request in bytes; a larger one costs its sender the connection.
        on_disconnect: called from a thread of nng when a peer is gone; must not block.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        *,
        max_message: int = MAX_MESSAGE,
        on_disconnect: PeerCallback | None = None,
    ) -> None:
        self._slots = Slots(self)
        socket = pynng.Rep0()
        super().__init__(socket, url, credentials, max_message=max_message, on_disconnect=on_disconnect)

    def receive(self) -> Request:
        """Wait for the next request; one thread at a time.

        Raises:
            Closed: the socket was closed.
        """
        while True:
            slot = self._slots.take()
            slot.receive()
            message = slot.received()
            peer = self._peer(lib.nng_pipe_id(lib.nng_msg_get_pipe(message)))
            if peer is not None:
                return Request(owned(message), peer, slot)
            # The peer left before we saw its request; nobody is there to be answered.
            lib.nng_msg_free(message)
            slot.discard()


class Pusher(_Server):
    """Shares messages out among the pullers connected (nng PUSH); at most once.

    Args:
        url: where to listen; port 0 stands for any free one, see ``url`` afterwards.
        credentials: who we are and whom we trust; None without TLS.
        admit: whether a peer may connect.
        on_connect: called from a thread of nng when a peer is there; must not block.
        on_disconnect: likewise when it is gone.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        *,
        admit: Callable[[Peer], bool] = lambda _: True,
        on_connect: PeerCallback | None = None,
        on_disconnect: PeerCallback | None = None,
    ) -> None:
        super().__init__(
            pynng.Push0(),
            url,
            credentials,
            max_message=MAX_MESSAGE,
            admit=admit,
            on_connect=on_connect,
            on_disconnect=on_disconnect,
        )
        self._sending = new_operation()

    def send(self, data: ReadableBuffer) -> None:
        """Wait until a connected puller takes the message; one thread at a time.

        Raises:
            Closed: the socket was closed.
        """
        with self.gate.passing(self.error):
            message = allocate(data)
            lib.nng_aio_set_msg(self._sending, message)
            lib.nng_send_aio(self.nng_socket, self._sending)
        lib.nng_aio_wait(self._sending)
        if lib.nng_aio_result(self._sending):
            lib.nng_msg_free(message)
            raise self.error()
