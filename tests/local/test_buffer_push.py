"""A buffer that pushes to plain nng PULL clients, over real sockets with real TLS."""

import subprocess
import sys
import textwrap

import pynng
import pytest

from buffer_rig import Rig, batch, seen
from lclstream.transport import Puller, Untrusted


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def puller(rig, role="consumer"):
    return Puller(rig.buffer.addresses()["push"], rig.credentials(role), "buffer")


def tls(credentials):
    return pynng.TLSConfig(
        pynng.TLSConfig.MODE_CLIENT,
        server_name="buffer",
        ca_string=credentials.ca,
        own_cert_string=credentials.certificate,
        own_key_string=credentials.key,
    )


def test_a_plain_pull_socket_gets_everything_and_the_end(rig):
    rig.start(mode="push")
    worker = rig.worker()
    worker.send(0, 1, 2, size=100_000)
    worker.end(3)
    with pynng.Pull0(tls_config=tls(rig.credentials("consumer"))) as socket:
        socket.dial(rig.buffer.addresses()["push"], block=True)
        messages = [socket.recv() for _ in range(4)]
    assert messages[:3] == [batch(sequence, size=100_000) for sequence in range(3)]
    assert messages[3][10] == 2  # the kind in the envelope: end
    assert seen(messages[3]).outcome == "completed"
    assert rig.end().outcome == "completed"
    assert (rig.counters.delivered, rig.counters.buffered) == (3, 0)


SCRIPT = """
    import sys, pynng
    url, folder = sys.argv[1:]
    read = lambda name: open(f"{folder}/{name}").read()
    tls = pynng.TLSConfig(pynng.TLSConfig.MODE_CLIENT, server_name="buffer", ca_string=read("ca.crt"),
                          own_cert_string=read("tls.crt"), own_key_string=read("tls.key"))
    with pynng.Pull0(tls_config=tls) as socket:
        socket.dial(url, block=True)
        while (message := socket.recv())[10] != 2:
            print(len(message), int.from_bytes(message[16:24], "little"))
        print("end", message[512:].decode())
"""


def test_a_script_without_our_code_reads_the_stream(rig, tmp_path):
    from lclstream.pki import write_credentials

    rig.start(mode="push")
    write_credentials(tmp_path / "consumer", rig.credentials("consumer"))
    script = tmp_path / "plain.py"
    script.write_text(textwrap.dedent(SCRIPT))
    worker = rig.worker()
    worker.send(*range(20), size=5_000)
    worker.end(20)
    url = rig.buffer.addresses()["push"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script, url, tmp_path / "consumer"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[:-1] == [f"5512 {sequence}" for sequence in range(20)]
    assert lines[-1].startswith('end {"outcome":"completed"')
    assert rig.end().outcome == "completed"


def test_clients_share_the_batches_and_each_is_told_the_end(rig):
    rig.start(mode="push")
    worker = rig.worker()
    with puller(rig) as first, puller(rig) as second:
        worker.send(*range(10))
        worker.end(10)
        got = []
        for client in (first, second):
            while isinstance(what := seen(client.receive()), tuple):
                got.append(what)
            assert what.outcome == "completed"
            client.close()
    assert sorted(got) == [(0, sequence) for sequence in range(10)]
    assert rig.end().outcome == "completed"


def test_batches_wait_for_the_first_client(rig):
    rig.start(mode="push", memory=700)
    worker = rig.worker()
    worker.send(0)
    blocked = [worker.requester.submit(batch(sequence)) for sequence in (1, 2, 3)]
    assert worker.hello().sequence == 1
    with puller(rig) as client:
        assert [seen(client.receive()) for _ in range(4)] == [(0, sequence) for sequence in range(4)]
        for reply in blocked:
            reply.wait()
        worker.end(4)
        assert seen(client.receive()).outcome == "completed"


def test_a_canceled_stream_tells_its_clients(rig):
    rig.start(mode="push")
    rig.worker().send(0)
    with puller(rig) as client:
        assert seen(client.receive()) == (0, 0)
        rig.buffer.cancel("enough")
        end = seen(client.receive())
    assert (end.outcome, end.reason) == ("canceled", "enough")
    assert rig.end().outcome == "canceled"


@pytest.mark.parametrize("role", ["worker", "operator", "buffer"])
def test_only_consumers_are_let_in(rig, role):
    rig.start(mode="push")
    rig.worker().send(0)
    with pytest.raises(Untrusted), puller(rig, role) as client:
        client.receive()
    assert rig.counters.delivered == 0


def test_without_a_certificate_nobody_is_let_in(rig):
    rig.start(mode="push")
    rig.worker().send(0)
    config = pynng.TLSConfig(pynng.TLSConfig.MODE_CLIENT, server_name="buffer", ca_string=rig.authority.pem)
    left = []
    with pynng.Pull0(tls_config=config, recv_timeout=30_000) as socket:
        import threading

        gone = threading.Event()
        socket.add_post_pipe_remove_cb(lambda _: gone.set())
        try:
            socket.dial(rig.buffer.addresses()["push"], block=True)
        except pynng.NNGException:
            left.append("refused")
        else:
            gone.wait()
            left.append("dropped")
    assert left
    assert (rig.counters.delivered, rig.counters.consumers) == (0, 0)
