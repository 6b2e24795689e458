"""Runs a Plan on this machine: processes, certificates and files around the decisions of `state`."""

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lclstream.config import TLS_CA, TLS_CERTIFICATE, TLS_KEY
from lclstream.connection import Addresses, Connection, write_connection
from lclstream.local import state
from lclstream.local.child import Child
from lclstream.logs import get_logger
from lclstream.pki import Authority, Credentials, write_credentials
from lclstream.plan import Certificate, Plan, with_ingest
from lclstream.process import EXIT_BAD_INPUT, EXIT_OK
from lclstream.protocol import LoseShard, Outcome, Refusal, Stop, Words, read_answer
from lclstream.spec import Model, SpecError
from lclstream.transport import Requester, TransportError

CERTIFICATE_LIFETIME = timedelta(days=7)
"""On one machine nothing renews certificates; longer than any run."""

_STOP_GRACE = 5.0
_END_GRACE = 20.0

_log = get_logger("runtime")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a look at the source and one event found.

    Attributes:
        events: events selected, in all shards together.
        fields: name -> shape and dtype in one event, after the steps.
        batch_bytes: upper bound of a message's size.
    """

    events: int
    fields: dict[str, dict[str, Any]]
    batch_bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    """How a stream ended.

    Attributes:
        outcome: completed, failed or canceled.
        reason: why, unless completed.
        progress: the buffers' counters, added up.
        bad_input: it failed for something asked for, before anything was streamed.
        last_lines: what the component logged last that was given up.
    """

    outcome: Outcome
    reason: str
    progress: dict[str, Any]
    bad_input: bool = False
    last_lines: tuple[str, ...] = ()


@dataclass(slots=True)
class Observer:
    """Who is told how a stream goes on.

    Attributes:
        connected: called with the connection file once consumers can connect.
        progressed: called with the state whenever something happened.
    """

    connected: Callable[[Path], None] = lambda _: None
    progressed: Callable[[state.LocalStream], None] = lambda _: None


def make_folder(plan: Plan) -> Path:
    """A new folder for a stream, for its owner only."""
    return Path(tempfile.mkdtemp(prefix=f"lclstream-{plan.name}-"))


def remove_folder(folder: Path, *, keep: bool) -> None:
    """Remove a stream's folder, or, to keep it, only its keys and what was spilled."""
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for part in ("tls", "spill"):
        shutil.rmtree(folder / part, ignore_errors=True)


async def check(plan: Plan) -> Checked:
    """Look at the source, take one event through the steps, and encode it; nothing else is started.

    Raises:
        SpecError: the request can't be served, a line for each thing that is wrong.
    """
    said: list[dict[str, Any]] = []
    folder = make_folder(plan)
    try:
        _write(folder / "producer.json", plan.workers.config)
        child = await Child.start("check", ["producer", "check", "--config", "producer.json"], folder)
        code = await child.wait(said.append)
    finally:
        remove_folder(folder, keep=False)
    if code != EXIT_OK or not said:
        lines = list(child.last_lines) or [f"the check ended with exit code {code}"]
        raise SpecError("\n".join(lines if code == EXIT_BAD_INPUT else lines[-1:]))
    return Checked(said[-1]["events"], said[-1]["fields"], said[-1]["batchBytes"])


@dataclass(slots=True)
class LocalRuntime:
    """One stream on this machine.

    Attributes:
        plan: what runs.
        folder: where its files lie while it runs.
        connection_file: where the connection file is written; absent: in the folder.
        observer: who is told.
    """

    plan: Plan
    folder: Path
    connection_file: Path | None = None
    observer: Observer = field(default_factory=Observer)
    _events: asyncio.Queue[state.Event] = field(default_factory=asyncio.Queue)
    _children: dict[str, tuple[Child, asyncio.Task[None]]] = field(default_factory=dict)
    _timers: list[asyncio.TimerHandle] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _operator: Credentials | None = None
    _consumer: Credentials | None = None

    async def run(self) -> Result:
        """Run the stream to its end; leaves no process behind, however it ends."""
        stream = state.LocalStream(self.plan)
        self._prepare()
        if self.plan.active_deadline_seconds:
            reason = f"activeDeadlineSeconds: {self.plan.active_deadline_seconds} s have passed"
            self._later(self.plan.active_deadline_seconds, state.Asked("failed", reason))
        try:
            actions = stream.begin()
            while True:
                for action in actions:
                    if isinstance(action, state.Finish):
                        return Result(
                            action.outcome,
                            action.reason,
                            stream.progress,
                            action.bad_input,
                            stream.last_lines,
                        )
                    await self._perform(action, stream)
                event = await self._events.get()
                actions = stream.handle(event)
                self.observer.progressed(stream)
        finally:
            await self._clean_up()

    def ask_to_end(self, reason: str) -> None:
        """End the stream as canceled."""
        self._events.put_nowait(state.Asked("canceled", reason))

    def kill(self) -> None:
        """Kill every component at once."""
        for child, _ in self._children.values():
            child.send(signal.SIGKILL)

    def _prepare(self) -> None:
        plan, authority = self.plan, Authority(self.plan.namespace, self.plan.name)

        def issue(certificate: Certificate) -> Credentials:
            credentials = authority.issue(
                certificate.role, dns_names=certificate.dns_names, lifetime=CERTIFICATE_LIFETIME
            )
            write_credentials(self.folder / "tls" / certificate.name, credentials)
            return credentials

        for buffer in plan.buffers:
            issue(buffer.certificate)
            _write(self.folder / f"{buffer.name}.json", buffer.config)
        issue(plan.workers.certificate)
        self._consumer, self._operator = issue(plan.consumer), issue(plan.operator)

    async def _perform(self, action: state.Action, stream: state.LocalStream) -> None:
        match action:
            case state.StartBuffers():
                for buffer in self.plan.buffers:
                    await self._start(buffer.name, ["buffer", "--config", f"{buffer.name}.json"])
            case state.Announce():
                self._announce(stream.listening)
            case state.StartWorker(shard, delay):
                self._start_worker(shard, delay)
            case state.LoseShard(shard, reason):
                _log.warning("shard lost", shard=shard, reason=reason)
                owner = self.plan.buffers[shard % len(self.plan.buffers)].name
                self._tell(owner, stream, LoseShard(shard=shard, reason=reason))
            case state.StopWorkers():
                for name, (child, _) in self._children.items():
                    if name not in stream.listening:
                        child.send(signal.SIGTERM)
            case state.StopBuffers(outcome, reason):
                end = Stop(outcome="failed" if outcome == "failed" else "canceled", reason=reason)
                for name in stream.listening:
                    self._tell(name, stream, end)
                self._timers.append(asyncio.get_running_loop().call_later(_END_GRACE, self.kill))

    async def _start(self, name: str, arguments: list[str]) -> None:
        child = await Child.start(name, arguments, self.folder)
        self._children[name] = (child, asyncio.create_task(self._watch(child)))

    async def _watch(self, child: Child) -> None:
        code = await child.wait(lambda words: self._events.put_nowait(state.Said(child.name, words)))
        self._events.put_nowait(state.Exited(child.name, code, tuple(child.last_lines)))

    def _start_worker(self, shard: int, delay: float) -> None:
        name = f"{self.plan.workers.name}-{shard}"
        arguments = ["producer", "run", "--config", "producer.json", "--shard", str(shard)]
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(delay, lambda: self._spawn(self._start(name, arguments))))

    def _announce(self, listening: dict[str, dict[str, Any]]) -> None:
        said = [listening[buffer.name] for buffer in self.plan.buffers]
        self.plan = with_ingest(self.plan, [words["ingest"] for words in said])
        _write(self.folder / "producer.json", self.plan.workers.config)
        path = self.connection_file or self.folder / "stream.json"
        tls = self.folder / "tls" / self.plan.consumer.name
        write_connection(
            path,
            Connection(
                stream=self.plan.stream,
                mode=self.plan.buffers[0].config.mode,
                buffers=[Addresses(lease=words["lease"], push=words["push"]) for words in said],
                ca=str(tls / TLS_CA),
                certificate=str(tls / TLS_CERTIFICATE),
                key=str(tls / TLS_KEY),
                expires=(datetime.now(UTC) + CERTIFICATE_LIFETIME).isoformat(timespec="seconds"),
            ),
        )
        self.observer.connected(path)

    def _tell(self, buffer: str, stream: state.LocalStream, words: Words) -> None:
        url = stream.listening[buffer]["ingest"]
        self._spawn(asyncio.to_thread(_request, url, self._operator, words))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self, seconds: float, event: state.Event) -> None:
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(seconds, self._events.put_nowait, event))

    async def _clean_up(self) -> None:
        for timer in self._timers:
            timer.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        children = list(self._children.values())
        await asyncio.gather(*(child.end(task, _STOP_GRACE) for child, task in children))
        await asyncio.gather(*(task for _, task in children))


def _request(url: str, credentials: Credentials | None, words: Words) -> None:
    try:
        with Requester(url, credentials, "buffer", patience=_STOP_GRACE) as requester:
            answer = read_answer(requester.request(words.encode()))
    except TransportError as error:
        # Its end, when it has ended, is reported on its standard output.
        _log.debug("a buffer could not be told", url=url, error=str(error))
        return
    if isinstance(answer, Refusal):
        _log.warning("a buffer refused", url=url, reason=answer.message)


def _write(path: Path, model: Model) -> None:
    path.write_text(json.dumps(model.model_dump(mode="json", by_alias=True, exclude_none=True), indent=2))
