"""nng sockets over mutual TLS; the only package that knows pynng.

Four roles are enough for the road of a batch: a `Responder` answers requests and a `Requester` has
several of them in flight; a `Pusher` shares messages out among `Puller` clients. Servers listen,
clients dial, both show a certificate (a URL of the form ``tcp://`` or ``ipc://`` is for tests).

What nng 1.11 with Mbed TLS needs to be told, and this package does:

* A TLS server lets in clients without a certificate unless authentication is *required*.
* A dial needs the server's name; any TLS failure is one opaque error, so ours says who and whom.
* A message may be of any size unless bounded.
* Waiting for an answer with a time limit would give up the request, so waiting has none; who wants
  out closes the socket from another thread, and a connection lost for too long does the same.
* Filling a message in place is ten times faster than handing over ``bytes``. A received message is
  handed out as a `memoryview` that owns it, so an array made over it can't dangle.
* A TLS connection whose other side vanished is often not noticed: nng closes its TCP connection and keeps
  the pipe. So the pipes are looked after, and those without a connection closed.
* ``close`` drops what is still queued; protocols above acknowledge their last message.

Threads, not asyncio: calls into nng release the GIL, and pynng's asyncio is ten times slower.
"""

from lclstream.transport.clients import PATIENCE, Puller, Reply, Requester
from lclstream.transport.errors import AddressTaken, Closed, TransportError, Unreachable, Untrusted
from lclstream.transport.servers import Peer, Pusher, Request, Responder

__all__ = [
    "PATIENCE",
    "AddressTaken",
    "Closed",
    "Peer",
    "Puller",
    "Pusher",
    "Reply",
    "Request",
    "Requester",
    "Responder",
    "TransportError",
    "Unreachable",
    "Untrusted",
]
