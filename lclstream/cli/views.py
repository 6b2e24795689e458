"""What ``lclstream run`` shows while a stream runs: JSON for programs, a progress line for people."""

import json as jsonlib
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lclstream.local.runtime import Result
from lclstream.local.state import LocalStream


class JsonView:
    """One JSON object a line on standard output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def connected(self, path: Path) -> None:
        """Consumers can connect, by this connection file."""
        self._say("connected", connection=str(path))

    def progressed(self, stream: LocalStream) -> None:
        """Something happened to the stream."""
        self._say("progress", phase=stream.phase, **stream.progress)

    def finished(self, result: Result, folder: Path | None) -> None:
        """The stream ended; its folder was kept, or is None."""
        more: dict[str, Any] = {"folder": str(folder)} if folder else {}
        if result.last_lines:
            more["lastLines"] = result.last_lines
        self._say("finished", outcome=result.outcome, reason=result.reason, **result.progress, **more)

    def _say(self, event: str, **words: Any) -> None:
        print(jsonlib.dumps({"event": event, **words}), flush=True)  # noqa: T201


class TerminalView:
    """A progress line, and words before and after it."""

    def __init__(self, stream: str, events: int) -> None:
        self._console = Console(highlight=False)
        self._progress = Progress(
            TextColumn("{task.fields[phase]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} events"),
            TextColumn(
                "{task.fields[batches]} batches  {task.fields[rate]}  {task.fields[buffered]} buffered"
            ),
            console=self._console,
        )
        self._stream, self._events = stream, events
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._task is not None:
            self._progress.stop()

    def connected(self, path: Path) -> None:
        """Consumers can connect, by this connection file."""
        self._console.print(f"stream {self._stream} is ready; consume it with", soft_wrap=True)
        self._console.print(f"  lclstream pull {path}", soft_wrap=True)
        self._task = self._progress.add_task(
            "", total=self._events, phase="Streaming", batches=0, rate="", buffered=0
        )
        self._progress.start()

    def progressed(self, stream: LocalStream) -> None:
        """Something happened to the stream."""
        if self._task is None:
            return
        counters = stream.progress
        elapsed = self._progress.tasks[0].elapsed or 0
        rate = counters.get("bytes", 0) / elapsed / 1e6 if elapsed else 0
        self._progress.update(
            self._task,
            completed=counters.get("events", 0),
            phase=stream.phase,
            batches=counters.get("batches", 0),
            rate=f"{rate:.0f} MB/s",
            buffered=counters.get("buffered", 0),
        )

    def finished(self, result: Result, folder: Path | None) -> None:
        """The stream ended; its folder was kept, or is None."""
        counters = result.progress
        self._console.print(
            f"{result.outcome}: {counters.get('events', 0)} events in {counters.get('batches', 0)} batches "
            f"({size(counters.get('bytes', 0))}), {counters.get('delivered', 0)} batches delivered, "
            f"{counters.get('dropped', 0)} dropped"
        )
        if result.outcome != "completed":
            self._console.print(f"reason: {result.reason}", soft_wrap=True)
            for line in result.last_lines:
                self._console.print(f"  {line}", soft_wrap=True, markup=False)
        if folder:
            self._console.print(f"configurations and logs are in {folder}", soft_wrap=True)


def size(count: float) -> str:
    """A number of bytes for people: 1536000 is 1.54 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
