"""Streams as a user runs them: the command in a process of its own, followed by what it prints."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

LCLSTREAM = [sys.executable, "-m", "lclstream"]


class Stream:
    """``lclstream run --json`` in a process of its own."""

    def __init__(self, folder: Path, documents: list[dict[str, Any]], *arguments: str) -> None:
        self.request = folder / "request.yaml"
        self.request.write_text(yaml.safe_dump_all(documents))
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.process = subprocess.Popen(
            [*LCLSTREAM, "run", str(self.request), "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(self.temporary)},
        )
        self.said: list[dict[str, Any]] = []

    def words(self) -> Iterator[dict[str, Any]]:
        """What it says, line by line, as it says it."""
        for line in self.process.stdout or ():
            self.said.append(json.loads(line))
            yield self.said[-1]

    def until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until it says something."""
        for words in self.words():
            if true(words):
                return words
        raise AssertionError(f"ended without saying it; {self.said[-3:]} {self.process.communicate()[1]}")

    @property
    def connection(self) -> Path:
        """The connection file, once there is one."""
        for words in self.said:
            if words["event"] == "connected":
                return Path(words["connection"])
        return Path(self.until(lambda words: words["event"] == "connected")["connection"])

    def end(self) -> dict[str, Any]:
        """Wait for its end; what it said last."""
        for _ in self.words():
            pass
        self.errors = self.process.communicate()[1]
        self.code = self.process.returncode
        return self.said[-1] if self.said else {}

    def pids(self, *words: str) -> list[int]:
        """Processes of the stream's components whose command line has these words in this order."""
        return [pid for pid in children(self.process.pid) if re.search(".* ".join(words), command_line(pid))]

    def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


def children(parent: int) -> list[int]:
    """Processes started by a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rsplit(")", 1)[1].split()[1]) == parent:
                found.append(int(entry.name))
    return found


def command_line(pid: int) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def request(**spec: Any) -> dict[str, Any]:
    """A StreamRequest with this spec."""
    return {
        "apiVersion": "lclstream.io/v1alpha1",
        "kind": "StreamRequest",
        "metadata": {"name": "first-light"},
        "spec": spec,
    }
