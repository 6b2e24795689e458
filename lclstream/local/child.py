"""A component as a child process: what it says, what it logs, and how it ends."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from lclstream.process import LIFELINE

TAIL_LINES = 20
_LONGEST_LINE = 1 << 20

OnWords = Callable[[dict[str, Any]], None]


class Child:
    """A role of ours in a process of its own.

    It runs in a session of its own, so that Ctrl-C reaches the runtime only, and ends with the runtime even
    when that is killed, since it watches its standard input.

    Attributes:
        name: the component.
        last_lines: what it logged last.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.last_lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._process, self._log = process, log

    @classmethod
    async def start(cls, name: str, arguments: Sequence[str], folder: Path) -> "Child":
        """Start ``lclstream ARGUMENTS`` in a folder; its log goes to ``logs/NAME.log`` there."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "lclstream",
            *arguments,
            cwd=folder,
            env={**os.environ, LIFELINE: "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_LONGEST_LINE,
        )
        log = folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        return cls(name, process, log)

    async def wait(self, on_words: OnWords) -> int:
        """Pass on what it says until it ends, and return its exit code."""
        await asyncio.gather(self._read_words(on_words), self._read_log())
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def end(self, waiting: Awaitable[Any], grace: float) -> None:
        """Ask it to stop, and kill it when it hasn't within so many seconds."""
        self.send(signal.SIGTERM)
        done, _ = await asyncio.wait([asyncio.ensure_future(waiting)], timeout=grace)
        if not done:
            self.send(signal.SIGKILL)

    async def _read_words(self, on_words: OnWords) -> None:
        async for line in _pipe(self._process.stdout):
            with contextlib.suppress(ValueError):
                on_words(json.loads(line))

    async def _read_log(self) -> None:
        with self._log.open("ab", buffering=0) as log:
            async for line in _pipe(self._process.stderr):
                log.write(line)
                self.last_lines.append(line.decode("utf-8", "replace").rstrip())


def _pipe(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if stream is None:
        raise RuntimeError("the process was started without this pipe")
    return stream
