"""The role ``buffer``: ``lclstream buffer --config FILE``.

Standard output carries one JSON object a line and nothing else::

    {"event": "listening", "ingest": URL, "lease": URL or null, "push": URL or null, "status": URL}
    {"event": "progress", COUNTERS}      while it runs, when something changed, if asked for
    {"event": "finished", "outcome": "completed", "failed" or "canceled", "reason": TEXT, COUNTERS}

with the counters of `lclstream_buffer.snapshot.Counters`. The exit code is 0 only when every shard has
ended and everything was delivered, 1 when the stream failed, 2 when it could not start as it was asked
to (one line on standard error says why), 3 when it was canceled.
"""

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lclstream.config import BufferConfig
from lclstream.logs import configure
from lclstream.process import EXIT_BAD_INPUT, EXIT_CANCELED, EXIT_FAILED, EXIT_OK, run_role
from lclstream.protocol import Outcome
from lclstream.spec import SpecError, parse
from lclstream.transport import TransportError
from lclstream.wire import HEADER_SIZE
from lclstream_buffer.buffer import Buffer, Verdict
from lclstream_buffer.spill import SpillError

EXIT_CODES: dict[Outcome, int] = {
    "completed": EXIT_OK,
    "failed": EXIT_FAILED,
    "canceled": EXIT_CANCELED,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a buffer until its stream has ended.

    Args:
        argv: arguments; None: those of the process.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="lclstream buffer", description="Run a buffer of a stream.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, as a Plan renders it")
    arguments = parser.parse_args(argv)
    configure(json=not sys.stderr.isatty())
    return run_role(lambda stop: _work(arguments.config, stop))


def read_config(path: Path) -> BufferConfig:
    """What a buffer is started with.

    Raises:
        SpecError: the file can't be read, or says something that can't be done.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read as JSON: {error}") from None
    config = parse(BufferConfig, data, where=str(path))
    if config.memory <= HEADER_SIZE:
        raise SpecError(f"memory: {config.memory} is not > {HEADER_SIZE}, the bytes of an empty batch")
    wrong = [shard for shard in config.shards if not 0 <= shard < config.total_shards]
    if wrong or len(set(config.shards)) != len(config.shards):
        raise SpecError(f"shards: {config.shards} are not different numbers below {config.total_shards}")
    return config


def _work(path: Path, stop: threading.Event) -> int:
    config = read_config(path)
    try:
        buffer = Buffer(config)
    except (TransportError, SpillError) as error:
        return _refuse(str(error))
    except OSError as error:
        listen = config.listen
        return _refuse(f"status address {listen.host}:{listen.status}: cannot listen: {error}")
    _say("listening", buffer.addresses())
    verdict = _run(buffer, config.report_seconds, stop)
    words = {"outcome": verdict.outcome, "reason": verdict.reason}
    _say("finished", words | buffer.snapshot().counters.as_json())
    return EXIT_CODES[verdict.outcome]


def _run(buffer: Buffer, report_seconds: float, stop: threading.Event) -> Verdict:
    over = threading.Event()

    def watch() -> None:
        stop.wait()
        go = buffer.leave if buffer.config.stay else buffer.cancel
        go("it was told to stop by a signal")

    def report() -> None:
        buffer.wait_for_change()
        while not over.is_set():
            _say("progress", buffer.snapshot().counters.as_json())
            over.wait(report_seconds)
            buffer.wait_for_change()

    helpers = [threading.Thread(target=watch, name="signals")]
    if report_seconds > 0:
        helpers.append(threading.Thread(target=report, name="report"))
    for helper in helpers:
        helper.start()
    try:
        return buffer.run()
    finally:
        over.set()
        buffer.progressed()
        stop.set()  # nothing is left to stop, and the thread that waits for it may go
        for helper in helpers:
            helper.join()


def _say(event: str, words: dict[str, Any]) -> None:
    try:
        print(json.dumps({"event": event, **words}), flush=True)  # noqa: T201 - that is its interface
    except BrokenPipeError:
        # Nobody listens any more; the stream goes on, and the interpreter must not fail at its last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)  # noqa: T201 - one line for people
    return EXIT_BAD_INPUT
