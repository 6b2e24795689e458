"""``lclstream pull``: a consumer for people and shell scripts."""

import contextlib
import json as jsonlib
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console
from rich.status import Status

from lclstream import client
from lclstream.client import Batch, StreamError
from lclstream.process import EXIT_BAD_INPUT, EXIT_CANCELED, EXIT_FAILED, EXIT_OK
from lclstream.transport import TransportError, Untrusted
from lclstream.wire import WireError

Sink = Callable[[Batch], None]

_SHOW_SECONDS = 0.2


class CommandFailed(Exception):
    """The command that a batch was piped to did not take it."""


@dataclass(slots=True)
class Totals:
    """What was received so far.

    Attributes:
        events: events in all batches.
        batches: number of batches.
        bytes: size of the messages.
    """

    events: int = 0
    batches: int = 0
    bytes: int = 0

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        self.events += batch.events
        self.batches += 1
        self.bytes += len(batch.raw)


def pull(target: Path, *, output: Path | None, execute: str | None, group: str, json: bool) -> int:
    """Consume a stream to its end and return the exit code.

    Raises:
        SpecError, PkiError: the connection file can't be used.
    """
    sink = _to_folder(output) if output else _to_command(execute) if execute else _nowhere
    totals = Totals()
    error: Exception | None = None
    code = EXIT_OK
    try:
        with client.open(target, group=group) as stream, _progress(json=json) as show:
            for batch in stream:
                sink(batch)
                totals.add(batch)
                show(totals)
    except Untrusted as reason:
        error, code = reason, EXIT_BAD_INPUT
    except (StreamError, TransportError, WireError, CommandFailed, OSError) as reason:
        error, code = reason, EXIT_FAILED
    except KeyboardInterrupt:
        error, code = StreamError("interrupted"), EXIT_CANCELED
    _report(totals, error, json=json)
    return code


def file_name(batch: Batch) -> str:
    """Name of the file that a batch is written to."""
    return f"r{batch.shard:04d}_{batch.sequence:06d}.h5"


def _nowhere(_: Batch) -> None:
    pass


def _to_folder(folder: Path) -> Sink:
    folder.mkdir(parents=True, exist_ok=True)

    def write(batch: Batch) -> None:
        # A reader of the folder never sees half a file.
        part = folder / f".{file_name(batch)}.part"
        part.write_bytes(batch.raw)
        part.replace(folder / file_name(batch))

    return write


def _to_command(command: str) -> Sink:
    def pipe(batch: Batch) -> None:
        done = subprocess.run(command, shell=True, input=batch.raw, check=False)  # noqa: S602 - it is the user's
        if done.returncode:
            raise CommandFailed(f"--exec: {command} ended with exit code {done.returncode} at {batch!r}")

    return pipe


@contextlib.contextmanager
def _progress(*, json: bool) -> Iterator[Callable[[Totals], None]]:
    """A way to show the totals, on standard error and not too often."""
    if json:
        yield lambda _: None
        return
    started = shown = time.monotonic()
    with Status("waiting for batches", console=Console(stderr=True)) as status:

        def show(totals: Totals) -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= _SHOW_SECONDS:
                shown = now
                rate = totals.bytes / (now - started) / 1e6
                status.update(f"{totals.events} events, {totals.batches} batches, {rate:.0f} MB/s")

        yield show


def _report(totals: Totals, error: Exception | None, *, json: bool) -> None:
    if json:
        outcome = {"error": str(error)} if error else {}
        words = {"events": totals.events, "batches": totals.batches, "bytes": totals.bytes, **outcome}
        typer.echo(jsonlib.dumps(words))
    else:
        typer.echo(f"{totals.events} events in {totals.batches} batches, {totals.bytes / 1e6:.1f} MB")
        if error:
            typer.echo(f"error: {error}", err=True)
