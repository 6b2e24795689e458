"""nng sockets over mutual TLS; the only module that knows pynng.

Four roles are enough for the road of a batch: a `Responder` answers requests and a `Requester` has
several of them in flight; a `Pusher` shares messages out among `Puller` clients. Servers listen,
clients dial, both show a certificate (a URL of the form ``tcp://`` or ``ipc://`` is for tests).

What nng 1.11 with Mbed TLS needs to be told, and this module does:

* A TLS server lets in clients without a certificate unless authentication is *required*.
* A dial needs the server's name; any TLS failure is one opaque error, so ours says who and whom.
* A message may be of any size unless bounded.
* Waiting for an answer with a time limit would give up the request, so waiting has none; who wants
  out closes the socket from another thread, and a connection lost for too long does the same.
* Filling a message in place is ten times faster than handing over ``bytes``. A received message is
  handed out as a `memoryview` that owns it, so an array made over it can't dangle.
* ``close`` drops what is still queued; protocols above acknowledge their last message.

Threads, not asyncio: calls into nng release the GIL, and pynng's asyncio is ten times slower.
"""

import atexit
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import pynng
from pynng import ffi, lib

from lclstream.pki import Credentials
from lclstream.wire import MAX_MESSAGE, ReadableBuffer

PATIENCE = 30.0
"""Seconds a client goes on trying to connect, at first and after a lost connection."""

_DROPS_WITHOUT_ANSWER = 3
_RETRY_SECONDS = 0.1
_PROTOCOL_HEADER = 4
"""Bytes that nng puts in front of a request or answer and counts as part of it."""

_RESEND_MILLISECONDS = 24 * 3600 * 1000
"""No answer is backpressure, not loss; never (-1) would give up the requests of a lost connection."""


class TransportError(Exception):
    """A message could not be sent or received."""


class Closed(TransportError):
    """The socket was closed on this side."""


class AddressTaken(TransportError):
    """Something else listens on this address."""


class Unreachable(TransportError):
    """Nobody answers at this address, or not any more."""


class Untrusted(TransportError):
    """One side does not accept the other's certificate."""


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


class _Server:
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
        self._socket = socket
        self._peers: dict[int, Peer] = {}
        self._lock = threading.Lock()
        self._admit, self._on_connect, self._on_disconnect = admit, on_connect, on_disconnect
        socket.recv_max_size, socket.tcp_keepalive = max_message + _PROTOCOL_HEADER, True
        _OPEN.add(self)
        if credentials:
            socket.tls_config = _tls(credentials, None)
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
        self.url: str = _listener_url(socket)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Who is connected."""
        with self._lock:
            return tuple(self._peers.values())

    def close(self) -> None:
        """Close every connection; what is still queued is dropped."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _peer(self, pipe_id: int) -> Peer | None:
        with self._lock:
            return self._peers.get(pipe_id)

    def _arriving(self, pipe: Any) -> None:
        peer = Peer(pipe.id, _common_name(pipe.pipe))
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

    def __init__(self, body: memoryview, peer: Peer, slot: "_Slot") -> None:
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
        self._slots = _Slots(self)
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
                return Request(_owned(message), peer, slot)
            # The peer left before we saw its request; nobody is there to be answered.
            lib.nng_msg_free(message)
            slot.discard()

    def error(self) -> TransportError:
        """Why an operation was cut short."""
        return Closed(f"{self.url}: closed")


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

    def send(self, data: ReadableBuffer) -> None:
        """Wait until a connected puller takes the message.

        Raises:
            Closed: the socket was closed.
        """
        message = _allocate(data)
        code = lib.nng_sendmsg(self._socket.socket, message, 0)
        if code:
            lib.nng_msg_free(message)
            raise Closed(f"{self.url}: closed")


class _Client:
    """What dialling sockets share: the connection, and what happens when it is lost."""

    def __init__(
        self,
        socket: Any,
        url: str,
        credentials: Credentials | None,
        server_name: str,
        *,
        patience: float,
        max_message: int,
    ) -> None:
        self.url = url
        self._socket, self._credentials, self._server_name = socket, credentials, server_name
        self._patience = patience
        self._failure: TransportError | None = None
        self._lock = threading.Lock()
        self._watchdog: threading.Timer | None = None
        self._answered = False
        self._drops = 0
        self._closing = threading.Event()
        socket.recv_max_size, socket.tcp_keepalive = max_message + _PROTOCOL_HEADER, True
        _OPEN.add(self)
        if credentials:
            socket.tls_config = _tls(credentials, server_name)
        socket.reconnect_time_min, socket.reconnect_time_max = 100, 2000
        socket.add_post_pipe_connect_cb(self._connected)
        socket.add_post_pipe_remove_cb(self._disconnected)
        try:
            self._dial()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; whoever waits for a message gets `Closed`."""
        self._closing.set()
        with self._lock:
            if self._watchdog:
                self._watchdog.cancel()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def error(self) -> TransportError:
        """Why an operation was cut short."""
        return self._failure or Closed(f"{self.url}: closed")

    def _dial(self) -> None:
        # A server that takes the connection and then says nothing would keep the dial waiting for ever.
        silent = Unreachable(f"{self.url}: nobody answers within {self._patience:g} s")
        watchdog = threading.Timer(self._patience, self._give_up, (silent,))
        watchdog.daemon = True
        watchdog.start()
        try:
            self._dial_until_answered()
        finally:
            watchdog.cancel()

    def _dial_until_answered(self) -> None:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._socket.dial(self.url, block=True)
            except (pynng.exceptions.CryptoError, pynng.exceptions.AuthenticationError):
                raise Untrusted(self._untrusted()) from None
            except pynng.exceptions.NNGException as error:
                if self._failure:
                    raise self._failure from None
                if time.monotonic() > deadline:
                    raise Unreachable(f"{self.url}: nobody answers: {error}") from None
                if self._closing.wait(_RETRY_SECONDS):
                    raise self.error() from None
            else:
                return

    def _untrusted(self) -> str:
        who = self._credentials.describe() if self._credentials else "no certificate"
        return (
            f"{self.url}: TLS refused: the server's certificate must be from our CA and name "
            f"{self._server_name!r}, ours must be from the server's; we showed {who}"
        )

    def _connected(self, _: Any) -> None:
        with self._lock:
            if self._watchdog:
                self._watchdog.cancel()
                self._watchdog = None

    def _disconnected(self, _: Any) -> None:
        with self._lock:
            if self._closing.is_set():
                return
            self._drops += 1
            if not self._answered and self._drops >= _DROPS_WITHOUT_ANSWER:
                failure: TransportError = Untrusted(
                    f"{self.url}: the server drops the connection; the role may not be allowed, "
                    "or a message is larger than it takes: "
                    f"{self._credentials.describe() if self._credentials else 'no certificate'}"
                )
                wait = 0.0
            else:
                failure = Unreachable(
                    f"{self.url}: connection lost, and not back within {self._patience:g} s"
                )
                wait = self._patience
            # Not from here: nng forbids closing a socket in a callback of its own.
            if self._watchdog:
                self._watchdog.cancel()
            self._watchdog = threading.Timer(wait, self._give_up, (failure,))
            self._watchdog.daemon = True
            self._watchdog.start()

    def _give_up(self, failure: TransportError) -> None:
        self._failure = failure
        self.close()


class Reply:
    """The answer to a request that was submitted; wait for it once."""

    __slots__ = ("_client", "_slot")

    def __init__(self, client: "Requester", slot: "_Slot") -> None:
        self._client, self._slot = client, slot

    @property
    def ready(self) -> bool:
        """Whether waiting would return at once."""
        return self._slot.ready

    def wait(self) -> memoryview:
        """The answer, as a view that owns the message.

        Raises:
            Closed: the socket was closed.
            Unreachable: the connection was lost for too long.
            Untrusted: the server drops the connection.
        """
        self._slot.sent()
        message = self._slot.received()
        self._client.answered()
        self._slot.release()
        return _owned(message)


class Requester(_Client):
    """Sends requests and gets answers (nng REQ), many in flight at once.

    A request whose connection is lost is sent again when it is back, so a server may see it twice.

    Args:
        url: where to dial.
        credentials: who we are and whom we trust; None without TLS.
        server_name: DNS name the server's certificate must carry.
        patience: seconds to go on trying to connect, at first and after a lost connection.
        max_message: largest answer in bytes.

    Raises:
        Unreachable: nobody answers.
        Untrusted: one side does not accept the other's certificate.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        server_name: str = "",
        *,
        patience: float = PATIENCE,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self._slots = _Slots(self)
        super().__init__(
            pynng.Req0(resend_time=_RESEND_MILLISECONDS),
            url,
            credentials,
            server_name,
            patience=patience,
            max_message=max_message,
        )

    def submit(self, data: ReadableBuffer) -> Reply:
        """Send a request without waiting; requests leave in the order they were submitted."""
        slot = self._slots.take()
        slot.send(data)
        slot.receive()
        return Reply(self, slot)

    def request(self, data: ReadableBuffer) -> memoryview:
        """Send a request and wait for the answer. Raises as `Reply.wait` does."""
        return self.submit(data).wait()

    def answered(self) -> None:
        """Note that the server talks to us."""
        self._answered = True


class Puller(_Client):
    """Receives messages that a pusher shares out (nng PULL). Arguments as of `Requester`."""

    def __init__(
        self,
        url: str,
        credentials: Credentials | None,
        server_name: str = "",
        *,
        patience: float = PATIENCE,
        max_message: int = MAX_MESSAGE,
    ) -> None:
        super().__init__(
            pynng.Pull0(),
            url,
            credentials,
            server_name,
            patience=patience,
            max_message=max_message,
        )

    def receive(self) -> memoryview:
        """The next message, as a view that owns it. Raises as `Reply.wait` does."""
        out = ffi.new("nng_msg **")
        if lib.nng_recvmsg(self._socket.socket, out, 0):
            raise self.error()
        self._answered = True
        return _owned(out[0])


class _Slot:
    """An nng context with its two operations; one request or answer at a time."""

    __slots__ = ("_context", "_message", "_owner", "_receiving", "_sending")

    def __init__(self, owner: "_Slots") -> None:
        self._owner = owner
        self._context = ffi.new("nng_ctx *")
        if lib.nng_ctx_open(self._context, owner.socket):
            raise owner.error()
        self._sending, self._receiving = _aio(), _aio()
        self._message: Any = None

    def send(self, data: ReadableBuffer) -> None:
        self._message = _allocate(data)
        lib.nng_aio_set_msg(self._sending, self._message)
        lib.nng_ctx_send(self._context[0], self._sending)

    def sent(self) -> None:
        lib.nng_aio_wait(self._sending)
        if lib.nng_aio_result(self._sending):
            lib.nng_msg_free(self._message)
            self._message = None
            raise self._owner.error()
        self._message = None

    def receive(self) -> None:
        lib.nng_ctx_recv(self._context[0], self._receiving)

    @property
    def ready(self) -> bool:
        return not lib.nng_aio_busy(self._receiving)

    def received(self) -> Any:
        lib.nng_aio_wait(self._receiving)
        if lib.nng_aio_result(self._receiving):
            raise self._owner.error()
        return lib.nng_aio_get_msg(self._receiving)

    def release(self) -> None:
        """Make the slot available for the next request."""
        self._owner.put(self)

    def discard(self) -> None:
        """Close the context; it is in the middle of something that will not go on."""
        lib.nng_ctx_close(self._context[0])


class _Slots:
    """Slots of a socket, made as they are needed and used again."""

    def __init__(self, of: Responder | Requester) -> None:
        self._of = of
        self._free: list[_Slot] = []
        self._lock = threading.Lock()

    @property
    def socket(self) -> Any:
        return self._of._socket.socket

    def error(self) -> TransportError:
        return self._of.error()

    def take(self) -> _Slot:
        with self._lock:
            if self._free:
                return self._free.pop()
        return _Slot(self)

    def put(self, slot: _Slot) -> None:
        with self._lock:
            self._free.append(slot)


def _aio() -> Any:
    out = ffi.new("nng_aio **")
    pynng.check_err(lib.nng_aio_alloc(out, ffi.NULL, ffi.NULL))
    # Freed with its last reference: freeing it while a thread waits on it would be fatal.
    return ffi.gc(out[0], lib.nng_aio_free)


# When the interpreter exits, pynng would end nng under the feet of threads that still wait in it, and
# nng aborts the process. It is enough to close the sockets: that wakes those threads and ends callbacks.
_OPEN: "weakref.WeakSet[_Server | _Client]" = weakref.WeakSet()
atexit.unregister(pynng.nng._pynng_atexit)


@atexit.register
def _close_all() -> None:
    for socket in tuple(_OPEN):
        socket.close()


def _allocate(data: ReadableBuffer) -> Any:
    """A message filled in place."""
    view = memoryview(data).cast("B")
    out = ffi.new("nng_msg **")
    pynng.check_err(lib.nng_msg_alloc(out, len(view)))
    ffi.memmove(lib.nng_msg_body(out[0]), view, len(view))
    return out[0]


def _owned(message: Any) -> memoryview:
    """A read-only view of a received message that frees it with the last view or array over it."""
    body = ffi.gc(ffi.cast("char *", lib.nng_msg_body(message)), lambda _: lib.nng_msg_free(message))
    return memoryview(ffi.buffer(body, lib.nng_msg_len(message))).toreadonly()


def _tls(credentials: Credentials, server_name: str | None) -> Any:
    config = pynng.TLSConfig
    return config(
        config.MODE_CLIENT if server_name is not None else config.MODE_SERVER,
        server_name=server_name or None,
        ca_string=credentials.ca,
        own_cert_string=credentials.certificate,
        own_key_string=credentials.key,
        auth_mode=config.AUTH_MODE_REQUIRED,
    )


def _common_name(pipe: Any) -> str:
    """Common name of the peer's certificate; empty without TLS. pynng has no public call for it."""
    out = ffi.new("char **")
    if lib.nng_pipe_get_string(pipe, b"tls-peer-cn", out):
        return ""
    try:
        name: bytes = ffi.string(out[0])
        return name.decode("utf-8", "replace")
    finally:
        lib.nng_strfree(out[0])


def _listener_url(socket: Any) -> str:
    """The address a socket listens on, with the port it got."""
    url: str = socket.listeners[0].url
    return url
