"""Open sockets and their connections: closed with the interpreter, and when the other side has vanished."""

import atexit
import threading
import weakref
from collections.abc import Iterable
from typing import Protocol

import pynng
from pynng import ffi, lib

_PULSE_SECONDS = 0.5
_SYSTEM_ERROR = 0x10000000
"""Flag that nng puts on error numbers of the operating system."""


class Watched(Protocol):
    """A socket that is looked after."""

    def connections(self) -> Iterable[int]:
        """Numbers of its pipes."""

    def close(self) -> None:
        """Close it."""


_open: "weakref.WeakSet[Watched]" = weakref.WeakSet()
_lock = threading.Lock()
_exiting = threading.Event()
_pulse: threading.Thread | None = None


def look_after(socket: Watched) -> None:
    """Close a socket's dead connections while it is open, and the socket when the interpreter exits."""
    global _pulse
    with _lock:
        _open.add(socket)
        if _pulse is None:
            _pulse = threading.Thread(target=_watch, daemon=True, name="transport-pulse")
            _pulse.start()


def _sockets() -> list[Watched]:
    with _lock:
        return list(_open)


def _watch() -> None:
    """Close the pipes whose TCP connection is gone.

    When the other side of a TLS connection vanishes, nng 1.11 shuts down the TCP connection but often keeps
    the pipe, so that nobody is told and a client never dials again.
    """
    while not _exiting.wait(_PULSE_SECONDS):
        for socket in _sockets():
            for pipe_id in socket.connections():
                _close_if_dead(pipe_id)


def _close_if_dead(pipe_id: int) -> None:
    pipe, address = ffi.new("nng_pipe *", {"id": pipe_id}), ffi.new("nng_sockaddr *")
    # getpeername(2) fails on a connection that was shut down; other errors mean that nng knows.
    if lib.nng_pipe_get_addr(pipe[0], b"remote-address", address) & _SYSTEM_ERROR:
        lib.nng_pipe_close(pipe[0])


# When the interpreter exits, pynng would end nng under the feet of threads that still wait in it, and
# nng aborts the process. It is enough to close the sockets: that wakes those threads and ends callbacks.
atexit.unregister(pynng.nng._pynng_atexit)


@atexit.register
def _close_all() -> None:
    _exiting.set()
    for socket in _sockets():
        socket.close()
    if _pulse:
        _pulse.join()
