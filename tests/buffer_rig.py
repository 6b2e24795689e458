"""A buffer of one stream with real sockets and certificates, and the clients that tests need."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from lclstream.config import BufferConfig
from lclstream.pki import Authority, Credentials, write_credentials
from lclstream.protocol import (
    Acknowledge,
    Attach,
    Detach,
    Fetch,
    Hello,
    ShardEnd,
    StreamEnd,
    Welcome,
    read_answer,
)
from lclstream.transport import Reply, Requester
from lclstream.wire import Header, Kind, decode, encode
from lclstream_buffer.buffer import Buffer, Verdict

STREAM = "beamline/run-44"
EVENTS = 4


def batch(sequence: int, shard: int = 0, size: int = 100, stream: str = STREAM) -> bytes:
    """The message of a batch; its payload tells which one it is."""
    payload = f"{shard}/{sequence};".encode().ljust(size, b".")
    header = Header(
        stream=stream,
        shard=shard,
        sequence=sequence,
        start=sequence * EVENTS,
        stop=sequence * EVENTS + EVENTS,
        events=EVENTS,
        encoding="raw",
    )
    return bytes(encode(header, payload))


def shard_end(batches: int, shard: int = 0, events: int | None = None, skipped: int = 0) -> bytes:
    """The message that ends a shard."""
    end = ShardEnd(events=batches * EVENTS if events is None else events, batches=batches, skipped=skipped)
    header = Header(
        stream=STREAM,
        shard=shard,
        sequence=batches,
        start=0,
        stop=0,
        events=0,
        encoding="json",
        kind=Kind.END,
    )
    return bytes(encode(header, end.encode()))


class Clock:
    """A clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Worker:
    """Sends batches of one shard."""

    def __init__(self, requester: Requester, shard: int = 0) -> None:
        self.requester, self.shard = requester, shard

    def ask(self, data: bytes):
        return read_answer(self.requester.request(data))

    def hello(self, shards: int = 1) -> Welcome:
        return self.ask(Hello(stream=STREAM, shard=self.shard, shards=shards).encode())

    def send(self, *sequences: int, size: int = 100) -> None:
        for sequence in sequences:
            assert self.ask(batch(sequence, self.shard, size)).ok == "stored"

    def end(self, batches: int) -> None:
        assert self.ask(shard_end(batches, self.shard)).ok == "stored"


class Consumer:
    """Fetches batches and acknowledges them when told."""

    def __init__(self, requester: Requester, group: str) -> None:
        self.requester = requester
        answer = self.ask(Attach(stream=STREAM, group=group, consumer="test").encode())
        assert answer.ok == "attached", answer

    def ask(self, data: bytes):
        return read_answer(self.requester.request(data))

    def submit(self, *acknowledge: tuple[int, int]) -> Reply:
        return self.requester.submit(Fetch(acknowledge=list(acknowledge)).encode())

    def fetch(self, *acknowledge: tuple[int, int]) -> "tuple[int, int] | StreamEnd":
        return seen(self.submit(*acknowledge).wait())

    def acknowledge(self, *batches: tuple[int, int]) -> None:
        assert self.ask(Acknowledge(acknowledge=list(batches)).encode()).ok == "stored"

    def drain(self) -> "tuple[list[tuple[int, int]], StreamEnd]":
        """Fetch and acknowledge until the end."""
        got: list[tuple[int, int]] = []
        while isinstance(what := self.fetch(*got[-1:]), tuple):
            got.append(what)
        return got, what

    def leave(self) -> None:
        assert self.ask(Detach().encode()).ok == "stored"
        self.requester.close()


def seen(message: memoryview) -> "tuple[int, int] | StreamEnd":
    """Which batch a message is, having looked at its payload; or the end."""
    header, payload = decode(message)
    if header.kind is Kind.END:
        return StreamEnd.model_validate_json(bytes(payload))
    assert bytes(payload).startswith(f"{header.shard}/{header.sequence};".encode())
    return header.shard, header.sequence


class Rig:
    """A buffer and who talks to it; everything is closed at the end, clients first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority("beamline", "run-44")
        write_credentials(folder / "tls", self.authority.issue("buffer", dns_names=["buffer"]))
        self.verdict: Verdict | None = None
        self._thread: threading.Thread | None = None
        self._clients = ExitStack()

    def config(self, *, shards: int = 1, mode: str = "lease", **settings) -> BufferConfig:
        return BufferConfig.model_validate(
            {
                "stream": STREAM,
                "shards": list(range(shards)),
                "totalShards": shards,
                "listen": {"host": "127.0.0.1", "ingest": 0, "lease": 0, "push": 0, "status": 0},
                "tls": str(self.folder / "tls"),
                "mode": mode,
                "memory": 1 << 20,
                "leaseSeconds": 3600,
                "spillDirectory": str(self.folder / "spill"),
                **settings,
            }
        )

    def start(self, *, clock: Callable[[], float] | None = None, **settings) -> Buffer:
        config = self.config(**settings)
        self.buffer = Buffer(config, clock=clock) if clock else Buffer(config)

        def run() -> None:
            self.verdict = self.buffer.run()

        self._thread = threading.Thread(target=run)
        self._thread.start()
        return self.buffer

    def credentials(self, role: str) -> Credentials:
        return self.authority.issue(role)

    def requester(self, address: str, role: str) -> Requester:
        url = self.buffer.addresses()[address]
        return self._clients.enter_context(Requester(url, self.credentials(role), "buffer"))

    def worker(self, shard: int = 0) -> Worker:
        return Worker(self.requester("ingest", "worker"), shard)

    def operator(self) -> Worker:
        return Worker(self.requester("ingest", "operator"))

    def consumer(self, group: str = "default") -> Consumer:
        return Consumer(self.requester("lease", "consumer"), group)

    @property
    def counters(self):
        return self.buffer.snapshot().counters

    def end(self) -> Verdict:
        """Hang up, and wait until the buffer has ended by itself."""
        self._clients.close()
        self._thread.join()
        return self.verdict

    def close(self) -> None:
        self._clients.close()
        if self._thread:
            self.buffer.cancel("the test is over")
            self._thread.join()
