"""Sockets that dial: the connection, what happens when it is lost, and what goes over it."""

import threading
import time
from typing import Any

import pynng
from pynng import lib

from lclstream.pki import Credentials
from lclstream.transport.connections import look_after
from lclstream.transport.contexts import Slot, Slots
from lclstream.transport.errors import TransportError, Unreachable, Untrusted
from lclstream.transport.nng import PROTOCOL_HEADER, Socket, new_operation, owned, tls_config
from lclstream.wire import MAX_MESSAGE, ReadableBuffer

PATIENCE = 30.0
"""Seconds a client goes on trying to connect, at first and after a lost connection."""

_DROPS_WITHOUT_ANSWER = 3
_RETRY_SECONDS = 0.1
_RESEND_MILLISECONDS = 24 * 3600 * 1000
"""No answer is backpressure, not loss; never (-1) would give up the requests of a lost connection."""


class _Client(Socket):
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
        super().__init__(socket, url)
        self._credentials, self._server_name = credentials, server_name
        self._patience = patience
        self._failure: TransportError | None = None
        self._lock = threading.Lock()
        self._watchdog: threading.Timer | None = None
        self._answered = False
        self._drops = 0
        self._pipes: set[int] = set()
        self._closing = threading.Event()
        socket.recv_max_size, socket.tcp_keepalive = max_message + PROTOCOL_HEADER, True
        look_after(self)
        if credentials:
            socket.tls_config = tls_config(credentials, server_name)
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
        super().close()

    def connections(self) -> tuple[int, ...]:
        """Number of the connection, when there is one."""
        with self._lock:
            return tuple(self._pipes)

    def error(self) -> TransportError:
        """Why an operation was cut short."""
        return self._failure or super().error()

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

    def _connected(self, pipe: Any) -> None:
        with self._lock:
            self._pipes.add(pipe.id)
            if self._watchdog:
                self._watchdog.cancel()
                self._watchdog = None

    def _disconnected(self, pipe: Any) -> None:
        with self._lock:
            self._pipes.discard(pipe.id)
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

    def __init__(self, client: "Requester", slot: Slot) -> None:
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
        return owned(message)


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
        self._slots = Slots(self)
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
        self._receiving = new_operation()

    def receive(self) -> memoryview:
        """The next message, as a view that owns it; one thread at a time. Raises as `Reply.wait` does."""
        with self.gate.passing(self.error):
            lib.nng_recv_aio(self.nng_socket, self._receiving)
        lib.nng_aio_wait(self._receiving)
        if lib.nng_aio_result(self._receiving):
            raise self.error()
        self._answered = True
        return owned(lib.nng_aio_get_msg(self._receiving))
