"""nng contexts: each carries one request or answer at a time; a socket has several in flight by several."""

import threading
from typing import Any

from pynng import ffi, lib

from lclstream.transport.errors import TransportError
from lclstream.transport.nng import Gate, Socket, allocate, new_operation
from lclstream.wire import ReadableBuffer


class Slot:
    """An nng context with its two operations; one request or answer at a time."""

    __slots__ = ("_context", "_message", "_owner", "_receiving", "_sending")

    def __init__(self, owner: "Slots") -> None:
        self._owner = owner
        self._context = ffi.new("nng_ctx *")
        with owner.gate.passing(owner.error):
            if lib.nng_ctx_open(self._context, owner.socket):
                raise owner.error()
        self._sending, self._receiving = new_operation(), new_operation()
        self._message: Any = None

    def send(self, data: ReadableBuffer) -> None:
        """Begin to send; never waits. Raises the owner's error when it is closed."""
        with self._owner.gate.passing(self._owner.error):
            self._message = allocate(data)
            lib.nng_aio_set_msg(self._sending, self._message)
            lib.nng_ctx_send(self._context[0], self._sending)

    def sent(self) -> None:
        """Wait until the connection took what was sent. Raises the owner's error."""
        lib.nng_aio_wait(self._sending)
        if lib.nng_aio_result(self._sending):
            lib.nng_msg_free(self._message)
            self._message = None
            raise self._owner.error()
        self._message = None

    def receive(self) -> None:
        """Begin to receive; never waits. Raises the owner's error when it is closed."""
        with self._owner.gate.passing(self._owner.error):
            lib.nng_ctx_recv(self._context[0], self._receiving)

    @property
    def ready(self) -> bool:
        """Whether `received` would return at once."""
        return not lib.nng_aio_busy(self._receiving)

    def received(self) -> Any:
        """Wait for what is received. Raises the owner's error."""
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


class Slots:
    """Slots of a socket, made as they are needed and used again."""

    def __init__(self, of: Socket) -> None:
        self._of = of
        self._free: list[Slot] = []
        self._lock = threading.Lock()

    @property
    def socket(self) -> Any:
        """The nng socket."""
        return self._of.nng_socket

    @property
    def gate(self) -> Gate:
        """Open while the socket is."""
        return self._of.gate

    def error(self) -> TransportError:
        """Why an operation was cut short."""
        return self._of.error()

    def take(self) -> Slot:
        """One that nobody uses."""
        with self._lock:
            if self._free:
                return self._free.pop()
        return Slot(self)

    def put(self, slot: Slot) -> None:
        """One that is not used any more."""
        with self._lock:
            self._free.append(slot)
