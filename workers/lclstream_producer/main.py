"""The role ``producer``: checks a configuration, or produces one shard of it."""

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from lclstream import logs
from lclstream.config import ProducerConfig
from lclstream.process import EXIT_CANCELED, EXIT_OK, run_role
from lclstream.protocol import ShardEnd
from lclstream.spec import SpecError, parse
from lclstream.transport import Closed
from lclstream.wire import Header, Kind, encode, seal
from lclstream_producer import job as jobs
from lclstream_producer.interfaces import Batch, Event, Sink, Standing
from lclstream_producer.job import Job
from lclstream_producer.pipeline import batches
from lclstream_producer.sharding import remaining, shard_of
from lclstream_producer.sinks.buffer import BufferSink, Over
from lclstream_producer.sinks.files import FilesSink

SHARD_VARIABLE = "JOB_COMPLETION_INDEX"
"""Environment variable that says which shard this is: an indexed Job of Kubernetes sets it."""

STOP_PATIENCE = 5.0
"""Seconds that batches on their way have to be answered when told to stop; a full buffer won't."""

T = TypeVar("T")


class Stopped(Exception):
    """Told to stop, in the middle of the shard."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the role.

    ``check --config FILE`` prints one JSON line, see `lclstream_producer.job.check`. ``run --config FILE
    [--shard I]`` produces a shard and prints ``{"event": "finished", "shard", "events", "batches",
    "skipped"}`` (totals of the whole shard, also after a restart), or ``{"event": "over", "shard",
    "reason"}`` when the stream ended before the shard did.

    Returns:
        0 done (or the stream is over), 1 failed, 2 wrong as asked for, 3 told to stop.
    """
    arguments = _parser().parse_args(argv)
    logs.configure(json=not sys.stderr.isatty())
    return run_role(lambda stop: _work(arguments, stop))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lclstream producer", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("run", "produce one shard"), ("check", "take one event through everything")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", type=Path, required=True, help="JSON file of a ProducerConfig")
        if name == "run":
            command.add_argument("--shard", type=int, help=f"which shard; default: {SHARD_VARIABLE}")
    return parser


def _work(arguments: argparse.Namespace, stop: threading.Event) -> int:
    config = read_config(arguments.config)
    if arguments.command == "check":
        _say(jobs.check(config))
        return EXIT_OK
    shard = arguments.shard if arguments.shard is not None else shard_from(os.environ)
    return run(config, shard, stop)


def read_config(path: Path) -> ProducerConfig:
    """Read a configuration from a JSON file. Raises SpecError."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"--config: {path} cannot be read as JSON: {error}") from None
    return parse(ProducerConfig, data, where="config")


def shard_from(environment: Mapping[str, str]) -> int:
    """The shard that the environment names. Raises SpecError."""
    value = environment.get(SHARD_VARIABLE, "")
    if not value.isdecimal():
        raise SpecError(f"--shard: not given, and {SHARD_VARIABLE} is {value!r}, expected a number")
    return int(value)


def run(config: ProducerConfig, shard: int, stop: threading.Event) -> int:
    """Produce a shard until its end, or until told to stop.

    Returns:
        The exit code.

    Raises:
        SpecError: the request can't be served.
        TransportError: the buffer can't be reached.
        OSError: the source or a file can't be read or written any more.
    """
    job = jobs.prepare(config)
    try:
        owned = shard_of(job.selected, shard, config.shards)
        sink = make_sink(config, shard)
        _close_when_stopped(sink, stop)
        try:
            end = _produce(job, shard, owned, sink, stop)
        finally:
            sink.close()
    except Over as over:
        _say({"event": "over", "shard": shard, "reason": str(over)})
    except (Stopped, Closed):
        if not stop.is_set():
            raise
        logs.get_logger("producer").info("stopped", shard=shard)
        return EXIT_CANCELED
    else:
        _say({"event": "finished", "shard": shard, **end.model_dump()})
    finally:
        job.source.close()
    return EXIT_OK


def make_sink(config: ProducerConfig, shard: int) -> Sink:
    """The sink of a configuration. Raises SpecError or PkiError."""
    if config.sink_buffer is not None and config.sink_files is None:
        return BufferSink(config.sink_buffer, config.stream, shard, config.shards)
    if config.sink_files is not None and config.sink_buffer is None:
        return FilesSink(config.sink_files, shard)
    raise SpecError("config: expected exactly one of sinkBuffer, sinkFiles")


def _produce(job: Job, shard: int, owned: range, sink: Sink, stop: threading.Event) -> ShardEnd:
    """Send what is left of the shard, then its end; returns its totals."""
    log = logs.get_logger("producer").bind(shard=shard)
    standing = sink.open()
    log.info("started", events=len(owned), sequence=standing.sequence, position=standing.position)
    events, count = standing.events, standing.sequence
    if not standing.ended:
        try:
            for batch in shard_batches(job, owned, standing, stop):
                _send(job, shard, batch, sink)
                events, count = events + batch.events, batch.sequence + 1
        except Stopped:
            sink.drain()
            raise
    end = ShardEnd(events=events, batches=count, skipped=len(owned) - events)
    if not standing.ended:
        sink.end(_end_message(job, shard, owned, end))
    log.info("finished", **end.model_dump())
    return end


def shard_batches(job: Job, owned: range, standing: Standing, stop: threading.Event) -> Iterator[Batch]:
    """The batches of a shard from where it stands.

    Raises:
        Stopped: the event was set; the batch in hand is given up.
        SpecError: an event can't be had or reduced as asked for.
    """
    left = remaining(owned, standing.position)
    events = interruptible(job.fields.read(job.source, left), job.source.rate, stop)
    reduced: Iterator[tuple[int, Event | None]] = (
        (index, None if event is None else job.chain.apply(event)) for index, event in events
    )
    return batches(reduced, job.config.batch_events, sequence=standing.sequence)


def interruptible(events: Iterable[T], rate: float | None, stop: threading.Event) -> Iterator[T]:
    """Pass events on at a rate (per second) at most, until told to stop.

    Each event has a time of its own counted from the first, so delays don't add up.

    Raises:
        Stopped: the event was set.
    """
    begin = time.monotonic()
    for number, event in enumerate(events):
        early = begin + number / rate - time.monotonic() if rate else 0
        if stop.wait(early) if early > 0 else stop.is_set():
            raise Stopped
        yield event


def _send(job: Job, shard: int, batch: Batch, sink: Sink) -> None:
    message = jobs.encode(job, batch.arrays)
    header = Header(
        stream=job.config.stream,
        shard=shard,
        sequence=batch.sequence,
        start=batch.start,
        stop=batch.stop,
        events=batch.events,
        encoding=job.encoder.name,
    )
    seal(message, header)
    sink.send(message)


def _end_message(job: Job, shard: int, owned: range, end: ShardEnd) -> bytearray:
    header = Header(
        stream=job.config.stream,
        shard=shard,
        sequence=end.batches,
        start=owned.start,
        stop=owned.stop,
        events=end.events,
        encoding="json",
        kind=Kind.END,
    )
    return encode(header, end.model_dump_json().encode())


def _close_when_stopped(sink: Sink, stop: threading.Event) -> None:
    """Cut waiting for the buffer short when told to stop: it may be full for hours."""

    def watch() -> None:
        stop.wait()
        sink.close(patience=STOP_PATIENCE)

    threading.Thread(target=watch, daemon=True, name="close-when-stopped").start()


def _say(result: Mapping[str, object]) -> None:
    """Print a result; standard output holds nothing but JSON lines."""
    print(json.dumps(result), flush=True)  # noqa: T201
