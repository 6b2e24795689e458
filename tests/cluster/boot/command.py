"""Running commands, telling what takes how long, and the one loop that waits.

Everything that can go wrong for a reason the user can act on ends as a `ClusterError`, which the
command line prints as one line.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class ClusterError(Exception):
    """The cluster could not be built, booted or removed; the message says why."""


def run(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: str | None = None,
) -> str:
    """Run a command to its end and return its standard output.

    Raises ClusterError with the end of its standard error if it fails or does not exist.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, env=env, cwd=cwd, input=stdin, text=True, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]}: command not found") from error
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise ClusterError(f"{' '.join(words)}: exit code {done.returncode}\n{tail}")
    return done.stdout


def say(line: str) -> None:
    """Tell the user something, at once: what follows may take minutes."""
    print(line, flush=True)  # noqa: T201 - a command line program


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what begins, and how long it took once it is done."""
    say(f"  {what} ...")
    start = time.monotonic()
    yield
    say(f"  {what}: {time.monotonic() - start:.1f} s")


def poll(what: str, ready: Callable[[], bool], timeout: float, interval: float = 0.1) -> None:
    """Wait for something that announces itself by no event, such as a port that opens.

    Raises ClusterError after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not ready after {timeout:.0f} s")
        time.sleep(interval)
