"""nng over mutual TLS on loopback: what arrives, who is let in, and what happens when a side is gone."""

import gc
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from queue import Queue

import numpy as np
import pytest

from cable import Cable
from lclstream.pki import Authority, Credentials, buffer_dns_names
from lclstream.transport import (
    AddressTaken,
    Closed,
    Peer,
    Puller,
    Pusher,
    Requester,
    Responder,
    TransportError,
    Unreachable,
    Untrusted,
)

AUTHORITY = Authority("default", "stream")
OTHER = Authority("default", "other")
BUFFER = AUTHORITY.issue("buffer", dns_names=buffer_dns_names())
WORKER = AUTHORITY.issue("worker")
CONSUMER = AUTHORITY.issue("consumer")
ANY_PORT = "tls+tcp://127.0.0.1:0"
NAME = "buffer"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def run(stack: ExitStack, target: Callable[[], object]) -> "Queue[object]":
    """Run something in a thread; its result, or the transport error it ended with, gets into the queue."""
    out: Queue[object] = Queue()

    def body() -> None:
        try:
            out.put(target())
        except TransportError as error:
            out.put(error)

    thread = threading.Thread(target=body)
    thread.start()
    stack.callback(thread.join, 30)
    return out


def echo(responder: Responder) -> None:
    while True:
        request = responder.receive()
        request.reply(b"echo " + bytes(request.body))


def served(stack: ExitStack, url: str = ANY_PORT, **options: int) -> Responder:
    responder = Responder(url, BUFFER, **options)
    run(stack, lambda: echo(responder))
    stack.callback(responder.close)
    return responder


@pytest.mark.parametrize("body", [b"", b"x", b"x" * 1000, bytes(range(256)) * 65536])
def test_a_request_is_answered(stack: ExitStack, body: bytes) -> None:
    server = served(stack)
    client = stack.enter_context(Requester(server.url, WORKER, NAME))
    assert client.request(body) == b"echo " + body


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "ipc://{folder}/socket"])
def test_tests_may_do_without_tls(stack: ExitStack, tmp_path: object, url: str) -> None:
    server = stack.enter_context(Responder(url.format(folder=tmp_path), None))
    client = stack.enter_context(Requester(server.url, None))
    reply = client.submit(b"hello")
    request = server.receive()
    assert (request.body, request.peer.role) == (b"hello", "")
    request.reply(b"hi")
    assert reply.wait() == b"hi"


def test_the_server_knows_the_role_of_its_peer(stack: ExitStack) -> None:
    server = stack.enter_context(Responder(ANY_PORT, BUFFER))
    stack.enter_context(Requester(server.url, WORKER, NAME)).submit(b"")
    stack.enter_context(Requester(server.url, CONSUMER, NAME)).submit(b"")
    assert {server.receive().peer.role, server.receive().peer.role} == {"worker", "consumer"}
    assert {peer.role for peer in server.peers} == {"worker", "consumer"}


def test_pipelined_requests_arrive_in_order(stack: ExitStack) -> None:
    server = stack.enter_context(Responder(ANY_PORT, BUFFER))
    client = stack.enter_context(Requester(server.url, WORKER, NAME))
    replies = [client.submit(b"%d" % i) for i in range(64)]
    for i in range(64):
        request = server.receive()
        assert request.body == b"%d" % i
        request.reply(request.body)
    assert [bytes(reply.wait()) for reply in replies] == [b"%d" % i for i in range(64)]


def test_requests_may_be_answered_in_any_order(stack: ExitStack) -> None:
    server = stack.enter_context(Responder(ANY_PORT, BUFFER))
    client = stack.enter_context(Requester(server.url, WORKER, NAME))
    replies = [client.submit(b"%d" % i) for i in range(8)]
    requests = [server.receive() for _ in range(8)]
    assert not any(reply.ready for reply in replies)
    for request in reversed(requests):
        request.reply(b"answer to " + bytes(request.body))
    assert [bytes(reply.wait()) for reply in replies] == [b"answer to %d" % i for i in range(8)]


def test_a_last_answer_arrives_before_others_are_given(stack: ExitStack) -> None:
    server = stack.enter_context(Responder(ANY_PORT, BUFFER))
    client = stack.enter_context(Requester(server.url, WORKER, NAME))
    first, second = client.submit(b"1"), client.submit(b"2")
    _, later = server.receive(), server.receive()
    later.reply(b"done")
    assert second.wait() == b"done"
    assert not first.ready


def test_a_slot_is_used_again_after_its_answer(stack: ExitStack) -> None:
    server = served(stack)
    client = stack.enter_context(Requester(server.url, WORKER, NAME))
    for i in range(200):
        assert client.request(b"%d" % i) == b"echo %d" % i


REFUSED = {
    "another stream's": (OTHER.issue("worker"), NAME),
    "none": (None, NAME),
    "another server name": (WORKER, "elsewhere"),
    "a foreign certificate with our CA": (
        Credentials(AUTHORITY.pem, OTHER.issue("worker").certificate, OTHER.issue("worker").key), NAME
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("kind", [Requester, Puller])
def test_a_certificate_that_is_not_trusted_is_refused(
    stack: ExitStack, case: str, kind: type[Requester] | type[Puller]
) -> None:
    credentials, name = REFUSED[case]
    server = served(stack) if kind is Requester else stack.enter_context(Pusher(ANY_PORT, BUFFER))
    with pytest.raises(Untrusted) as caught:
        kind(server.url, credentials, name, patience=20)
    message = str(caught.value)
    assert server.url in message
    assert repr(name) in message
    assert ("no certificate" if credentials is None else "CN=worker") in message
    assert server.peers == ()


def test_the_certificate_shown_is_named(stack: ExitStack) -> None:
    server = served(stack)
    with pytest.raises(Untrusted, match="CN=worker,O=other,OU=default from memory, issued by CN=ca,O=other"):
        Requester(server.url, OTHER.issue("worker"), NAME)


def test_a_refused_client_does_not_disturb_the_others(stack: ExitStack) -> None:
    server = served(stack)
    client = stack.enter_context(Requester(server.url, WORKER, NAME))
    with pytest.raises(Untrusted):
        Requester(server.url, OTHER.issue("worker"), NAME)
    assert client.request(b"still here") == b"echo still here"


def test_a_role_that_is_not_admitted_is_told_so(stack: ExitStack) -> None:
    asked: Queue[Peer] = Queue()

    def admit(peer: Peer) -> bool:
        asked.put(peer)
        return peer.role == "consumer"

    server = stack.enter_context(Pusher(ANY_PORT, BUFFER, admit=admit))
    client = stack.enter_context(Puller(server.url, WORKER, NAME))
    with pytest.raises(Untrusted, match=r"the role may not be allowed.*CN=worker,O=stream"):
        client.receive()
    assert asked.get(timeout=30).role == "worker"
    welcome = stack.enter_context(Puller(server.url, CONSUMER, NAME))
    server.send(b"for consumers")
    assert welcome.receive() == b"for consumers"


@pytest.mark.parametrize("kind", [Responder, Pusher])
def test_a_port_that_is_taken_is_named(stack: ExitStack, kind: type[Responder] | type[Pusher]) -> None:
    server = stack.enter_context(Responder(ANY_PORT, BUFFER))
    with pytest.raises(AddressTaken, match=f"^{re.escape(server.url)}: address in use, expected a free port"):
        kind(server.url, BUFFER)


def test_an_address_that_does_not_exist_is_named() -> None:
    with pytest.raises(TransportError, match=r"^tls.tcp://203\.0\.113\.1:1: cannot listen"):
        Responder("tls+tcp://203.0.113.1:1", BUFFER)


@pytest.mark.parametrize("kind", [Requester, Puller])
def test_nobody_there_is_unreachable(stack: ExitStack, kind: type[Requester] | type[Puller]) -> None:
    with Responder(ANY_PORT, BUFFER) as gone:
        url = gone.url
    with pytest.raises(Unreachable, match=f"^{re.escape(url)}: nobody answers"):
        kind(url, WORKER, NAME, patience=0.05)


@pytest.mark.parametrize("kind", [Requester, Puller])
def test_a_server_that_says_nothing_is_unreachable(kind: type[Requester] | type[Puller]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tls+tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"^{re.escape(url)}: nobody answers"):
            kind(url, WORKER, NAME, patience=0.05)


def test_a_client_waits_for_a_server_that_comes_up(stack: ExitStack) -> None:
    with Responder(ANY_PORT, BUFFER) as gone:
        url = gone.url
    dialled = run(stack, lambda: stack.enter_context(Requester(url, WORKER, NAME, patience=60)))
    served(stack, url)
    client = dialled.get(timeout=60)
    assert isinstance(client, Requester)
    assert client.request(b"late") == b"echo late"


def test_a_message_that_is_too_large_is_refused(stack: ExitStack) -> None:
    server = served(stack, max_message=1000)
    small = stack.enter_context(Requester(server.url, WORKER, NAME))
    assert len(small.request(bytes(1000))) == 1005
    large = stack.enter_context(Requester(server.url, WORKER, NAME))
    with pytest.raises(Untrusted, match="a message is larger than it takes"):
        large.request(bytes(1001))
    assert len(small.request(bytes(1000))) == 1005


def test_pushed_messages_are_shared_out_each_once(stack: ExitStack) -> None:
    connected: Queue[Peer] = Queue()
    server = stack.enter_context(Pusher(ANY_PORT, BUFFER, on_connect=connected.put))
    clients = [stack.enter_context(Puller(server.url, CONSUMER, NAME)) for _ in range(2)]
    for _ in clients:
        connected.get(timeout=30)
    got: Queue[int] = Queue()

    def pull(client: Puller) -> None:
        while True:
            got.put(int(bytes(client.receive())))

    for client in clients:
        run(stack, lambda client=client: pull(client))
        stack.callback(client.close)
    for i in range(100):
        server.send(b"%d" % i)
    assert sorted(got.get(timeout=30) for _ in range(100)) == list(range(100))


def test_a_pusher_waits_for_somebody_to_take_a_message(stack: ExitStack) -> None:
    server = stack.enter_context(Pusher(ANY_PORT, BUFFER))
    sent = run(stack, lambda: server.send(b"first"))
    client = stack.enter_context(Puller(server.url, CONSUMER, NAME))
    assert client.receive() == b"first"
    assert sent.get(timeout=30) is None


def test_a_server_hears_when_a_peer_leaves(stack: ExitStack) -> None:
    left: Queue[Peer] = Queue()
    server = stack.enter_context(Responder(ANY_PORT, BUFFER, on_disconnect=left.put))
    client = Requester(server.url, WORKER, NAME)
    client.submit(b"x")
    peer = server.receive().peer
    client.close()
    assert left.get(timeout=30) == peer
    assert server.peers == ()


def test_an_answer_to_a_peer_that_left_goes_nowhere(stack: ExitStack) -> None:
    left: Queue[Peer] = Queue()
    server = stack.enter_context(Responder(ANY_PORT, BUFFER, on_disconnect=left.put))
    client = Requester(server.url, WORKER, NAME)
    client.submit(b"x")
    request = server.receive()
    client.close()
    left.get(timeout=30)
    request.reply(b"too late")
    again = stack.enter_context(Requester(server.url, WORKER, NAME))
    reply = again.submit(b"y")
    server.receive().reply(b"in time")
    assert reply.wait() == b"in time"


def test_requests_in_flight_are_answered_by_the_server_that_takes_its_place(stack: ExitStack) -> None:
    first = Responder(ANY_PORT, BUFFER)
    stack.callback(first.close)
    client = stack.enter_context(Requester(first.url, WORKER, NAME, patience=60))
    replies = [client.submit(b"%d" % i) for i in range(5)]
    for _ in replies:
        first.receive()
    first.close()
    served(stack, first.url)
    assert [bytes(reply.wait()) for reply in replies] == [b"echo %d" % i for i in range(5)]
    assert client.request(b"next") == b"echo next"


def test_a_puller_goes_on_with_the_server_that_takes_its_place(stack: ExitStack) -> None:
    first = Pusher(ANY_PORT, BUFFER)
    stack.callback(first.close)
    client = stack.enter_context(Puller(first.url, CONSUMER, NAME, patience=60))
    first.send(b"1")
    assert client.receive() == b"1"
    first.close()
    second = stack.enter_context(Pusher(first.url, BUFFER))
    run(stack, lambda: second.send(b"2"))
    assert client.receive() == b"2"


def test_a_server_that_stays_away_is_unreachable(stack: ExitStack) -> None:
    server = stack.enter_context(Responder(ANY_PORT, BUFFER))
    client = stack.enter_context(Requester(server.url, WORKER, NAME, patience=0.05))
    reply = client.submit(b"x")
    server.receive()
    server.close()
    with pytest.raises(Unreachable, match=r"connection lost, and not back within 0\.05 s"):
        reply.wait()
    with pytest.raises(Unreachable):
        client.request(b"y")


def test_an_array_over_an_answer_outlives_everything_else(stack: ExitStack) -> None:
    sent = np.random.default_rng(1).integers(0, 255, 1 << 20, dtype=np.uint8)
    with Responder(ANY_PORT, BUFFER) as server, Requester(server.url, WORKER, NAME) as client:
        reply = client.submit(b"")
        server.receive().reply(sent)
        array = np.frombuffer(reply.wait(), np.uint8)
    del reply, client, server
    gc.collect()
    noise = [np.full(1 << 20, 7, np.uint8) for _ in range(8)]
    np.testing.assert_array_equal(array, sent)
    assert not array.flags.writeable
    assert noise


def test_an_array_over_a_request_outlives_everything_else() -> None:
    sent = np.arange(1 << 18, dtype=np.uint32)
    with Responder(ANY_PORT, BUFFER) as server, Requester(server.url, WORKER, NAME) as client:
        client.submit(sent)
        request = server.receive()
        array = np.frombuffer(request.body, np.uint32)
    del request, client, server
    gc.collect()
    np.testing.assert_array_equal(array, sent)


def waiters(stack: ExitStack) -> Iterator[tuple[str, Callable[[], object], Callable[[], None]]]:
    """Each way to wait, and what cuts it short."""
    responder = stack.enter_context(Responder(ANY_PORT, BUFFER))
    yield "a request", responder.receive, responder.close
    silent = stack.enter_context(Responder(ANY_PORT, BUFFER))
    requester = stack.enter_context(Requester(silent.url, WORKER, NAME))
    yield "an answer", requester.submit(b"").wait, requester.close
    alone = stack.enter_context(Pusher(ANY_PORT, BUFFER))
    yield "a puller", lambda: alone.send(b"x"), alone.close
    quiet = stack.enter_context(Pusher(ANY_PORT, BUFFER))
    puller = stack.enter_context(Puller(quiet.url, CONSUMER, NAME))
    yield "a message", puller.receive, puller.close


@pytest.mark.parametrize("which", range(4), ids=["a request", "an answer", "a puller", "a message"])
def test_closing_wakes_who_waits_for(stack: ExitStack, which: int) -> None:
    _, wait, close = list(waiters(stack))[which]
    result = run(stack, wait)
    close()
    assert isinstance(result.get(timeout=30), Closed)
    with pytest.raises(Closed):
        wait()


def test_closing_twice_is_fine(stack: ExitStack) -> None:
    server = Responder(ANY_PORT, BUFFER)
    client = Requester(server.url, WORKER, NAME)
    for side in (client, client, server, server):
        side.close()


LEAVING = """
import sys, threading
from lclstream.pki import Authority, buffer_dns_names
from lclstream.transport import Puller, Pusher, Requester, Responder, TransportError

authority = Authority("default", "stream")
buffer = authority.issue("buffer", dns_names=buffer_dns_names())
worker = authority.issue("worker")
server = Responder("tls+tcp://127.0.0.1:0", buffer)
client = Requester(server.url, worker, "buffer")
pusher = Pusher("tls+tcp://127.0.0.1:0", buffer)
pullers = [Puller(pusher.url, worker, "buffer") for _ in range(8)]
reply = client.submit(b"hello")
request = server.receive()
unanswered = client.submit(b"in flight")
request.reply(b"hi")
answer = reply.wait()

def wait(puller):
    try:
        puller.receive()
    except TransportError:
        pass

for puller in pullers:
    threading.Thread(target=wait, args=(puller,), daemon=True).start()
if sys.argv[1] == "error":
    sys.exit(3)
print("left", flush=True)
"""


@pytest.mark.parametrize(("how", "code"), [("normal", 0), ("error", 3)])
def test_the_interpreter_may_leave_with_open_sockets(how: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING, how], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_peer_that_vanishes_is_noticed_on_both_sides(stack: ExitStack) -> None:
    """nng itself misses most of these: it shuts down the TCP connection and keeps the pipe."""
    left: Queue[Peer] = Queue()
    server = stack.enter_context(Responder(ANY_PORT, BUFFER, on_disconnect=left.put))
    run(stack, lambda: [server.receive() for _ in range(1000)])
    stack.callback(server.close)
    for _ in range(5):
        cable = Cable(server.url)
        client = Requester(cable.url, WORKER, NAME, patience=2)
        answer = client.submit(b"never answered")
        cable.close()
        assert left.get(timeout=60).role == "worker"
        with pytest.raises(Unreachable, match="connection lost"):
            answer.wait()
