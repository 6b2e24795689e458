"""The road of a batch: 64 messages of 1 MiB over mutual TLS on loopback, one connection.

Three ways: nng PUSH/PULL, which acknowledges nothing; our REQ/REP with four requests in flight, as a worker
sends to its buffer; and REQ/REP with one in flight.
"""

import threading
from collections.abc import Iterator

from benchmarks.measure import compare
from lclstream.pki import Authority, buffer_dns_names
from lclstream.transport import Closed, Puller, Pusher, Reply, Requester, Responder

MESSAGES, SIZE = 64, 1 << 20


def run(rounds: int) -> Iterator[str]:
    """Lines with the ratios."""
    authority = Authority("default", "bench")
    server = authority.issue("buffer", dns_names=buffer_dns_names())
    client = authority.issue("worker")
    message = bytes(SIZE)
    with (
        Responder("tls+tcp://127.0.0.1:0", server) as responder,
        Requester(responder.url, client, "buffer") as requester,
        Pusher("tls+tcp://127.0.0.1:0", server) as pusher,
        Puller(pusher.url, client, "buffer") as puller,
    ):
        threading.Thread(target=_answer, args=(responder,)).start()
        yield from compare(
            {
                "PUSH/PULL, nothing acknowledged": lambda: _push(pusher, puller, message),
                "acknowledged, 4 in flight": lambda: _request(requester, message, 4),
                "acknowledged, 1 in flight": lambda: _request(requester, message, 1),
            },
            rounds,
        )


def _answer(responder: Responder) -> None:
    try:
        while True:
            responder.receive().reply(b"stored")
    except Closed:
        pass


def _push(pusher: Pusher, puller: Puller, message: bytes) -> None:
    def send() -> None:
        for _ in range(MESSAGES):
            pusher.send(message)

    sender = threading.Thread(target=send)
    sender.start()
    for _ in range(MESSAGES):
        puller.receive()
    sender.join()


def _request(requester: Requester, message: bytes, window: int) -> None:
    flying: list[Reply] = []
    for _ in range(MESSAGES):
        if len(flying) == window:
            flying.pop(0).wait()
        flying.append(requester.submit(message))
    for reply in flying:
        reply.wait()
