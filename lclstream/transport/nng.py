"""The parts of nng that pynng does not offer, or not without copying."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pynng
from pynng import ffi, lib

from lclstream.pki import Credentials
from lclstream.transport.errors import Closed, TransportError
from lclstream.wire import ReadableBuffer

PROTOCOL_HEADER = 4
"""Bytes that nng puts in front of a request or answer and counts as part of it."""


class Gate:
    """Lets operations begin only while their socket is open, any number of them at once.

    nng 1.11 does not bear one that begins while its socket closes: it may wait for ever, or abort.
    """

    def __init__(self) -> None:
        self._beginning = 0
        self._shut = False
        self._moved = threading.Condition()

    @contextmanager
    def passing(self, error: Callable[[], Exception]) -> Iterator[None]:
        """Begin operations inside; raises what ``error`` returns once it is shut."""
        with self._moved:
            if self._shut:
                raise error()
            self._beginning += 1
        try:
            yield
        finally:
            with self._moved:
                self._beginning -= 1
                self._moved.notify_all()

    def shut(self) -> None:
        """Let nothing begin any more; returns when nothing is about to."""
        with self._moved:
            self._shut = True
            self._moved.wait_for(lambda: not self._beginning)


class Socket:
    """What every socket is: open until it is closed, by a ``with`` statement too."""

    def __init__(self, socket: Any, url: str) -> None:
        self.url = url
        self.gate = Gate()
        self._socket = socket

    @property
    def nng_socket(self) -> Any:
        """The socket as nng's functions take it."""
        return self._socket.socket

    def close(self) -> None:
        """Close every connection; what is still queued is dropped, and whoever waits gets `error`."""
        self.gate.shut()
        self._socket.close()

    def error(self) -> TransportError:
        """Why an operation was cut short."""
        return Closed(f"{self.url}: closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_operation() -> Any:
    """An asynchronous operation (nng_aio), which can be used again and again."""
    out = ffi.new("nng_aio **")
    pynng.check_err(lib.nng_aio_alloc(out, ffi.NULL, ffi.NULL))
    # Freed with its last reference: freeing it while a thread waits on it would be fatal.
    return ffi.gc(out[0], lib.nng_aio_free)


def allocate(data: ReadableBuffer) -> Any:
    """A message filled in place."""
    view = memoryview(data).cast("B")
    out = ffi.new("nng_msg **")
    pynng.check_err(lib.nng_msg_alloc(out, len(view)))
    ffi.memmove(lib.nng_msg_body(out[0]), view, len(view))
    return out[0]


def owned(message: Any) -> memoryview:
    """A read-only view of a received message that frees it with the last view or array over it."""
    body = ffi.gc(ffi.cast("char *", lib.nng_msg_body(message)), lambda _: lib.nng_msg_free(message))
    return memoryview(ffi.buffer(body, lib.nng_msg_len(message))).toreadonly()


def tls_config(credentials: Credentials, server_name: str | None) -> Any:
    """TLS for a client that expects this server name, or, without one, for a server."""
    config = pynng.TLSConfig
    return config(
        config.MODE_CLIENT if server_name is not None else config.MODE_SERVER,
        server_name=server_name or None,
        ca_string=credentials.ca,
        own_cert_string=credentials.certificate,
        own_key_string=credentials.key,
        auth_mode=config.AUTH_MODE_REQUIRED,
    )


def common_name(pipe: Any) -> str:
    """Common name of the peer's certificate; empty without TLS. pynng has no public call for it."""
    out = ffi.new("char **")
    if lib.nng_pipe_get_string(pipe, b"tls-peer-cn", out):
        return ""
    try:
        name: bytes = ffi.string(out[0])
        return name.decode("utf-8", "replace")
    finally:
        lib.nng_strfree(out[0])


def listener_url(socket: Any) -> str:
    """The address a socket listens on, with the port it got."""
    url: str = socket.listeners[0].url
    return url
