"""The parts of nng that pynng does not offer, or not without copying."""

import threading
from typing import Any

import pynng
from pynng import ffi, lib

from lclstream.pki import Credentials
from lclstream.wire import ReadableBuffer

PROTOCOL_HEADER = 4
"""Bytes that nng puts in front of a request or answer and counts as part of it."""


class Operations:
    """The asynchronous operations (nng_aio) of one socket, which are ended with it."""

    def __init__(self) -> None:
        self._all: list[Any] = []
        self._lock = threading.Lock()

    def new(self) -> Any:
        """One more; it can be used again and again."""
        out = ffi.new("nng_aio **")
        pynng.check_err(lib.nng_aio_alloc(out, ffi.NULL, ffi.NULL))
        # Freed with its last reference: freeing it while a thread waits on it would be fatal.
        operation = ffi.gc(out[0], lib.nng_aio_free)
        with self._lock:
            self._all.append(operation)
        return operation

    def cancel(self) -> None:
        """End those still under way after their socket was closed.

        An operation that begins while nng closes the socket may be missed by it, and would wait for ever.
        """
        with self._lock:
            for operation in self._all:
                lib.nng_aio_cancel(operation)


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
