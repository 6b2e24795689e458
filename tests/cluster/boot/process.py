"""Starting, finding again and stopping the cluster's processes.

A process is remembered by its pid *and* its start time: a pid alone may meanwhile belong to
somebody else, and only what this module started is ever signalled.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from boot.command import ClusterError
from boot.layout import MARKER, Layout

STOP_TIMEOUT = 20.0


@dataclass(frozen=True)
class Process:
    """A process, told apart from a later one that got the same pid by its start time."""

    pid: int
    start_time: int

    def alive(self) -> bool:
        return start_time(self.pid) == self.start_time


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks after boot; None if it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name, in parentheses, may itself contain spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    state, started = fields[0], fields[19]
    return None if state in "ZX" else int(started)


def environment(layout: Layout) -> dict[str, str]:
    """What every component gets; nothing of the caller's own environment leaks in."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(layout.state),
        "AWS_EC2_METADATA_DISABLED": "true",
        MARKER: str(layout.state),
    }


def start(layout: Layout, name: str, argv: Sequence[str | Path], extra: Mapping[str, str]) -> None:
    """Start a component as a daemon that logs to a file of its own."""
    for directory in (layout.logs, layout.run):
        directory.mkdir(parents=True, exist_ok=True)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    # Not subprocess.Popen: it takes a child that outlives its parent for a mistake.
    pid = os.posix_spawnp(
        "env",
        ["env", "--chdir=/", *map(str, argv)],
        {**environment(layout), **extra},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log_file(layout, name)), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        # Python ignores these two for itself; containers would inherit that.
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )
    started = start_time(pid)
    if started is None:
        raise ClusterError(f"{name}: ended at once; see {log_file(layout, name)}")
    _pid_file(layout, name).write_text(json.dumps([pid, started]))


def find(layout: Layout, name: str) -> Process | None:
    """The running process of a component, or None."""
    try:
        pid, started = json.loads(_pid_file(layout, name).read_text())
    except (FileNotFoundError, ValueError):
        return None
    process = Process(pid, started)
    return process if process.alive() else None


def stop(layout: Layout, name: str) -> None:
    """Ask a component to end; insist if it does not."""
    process = find(layout, name)
    if process:
        end([process], signal.SIGTERM)
    _pid_file(layout, name).unlink(missing_ok=True)


def end(processes: Iterable[Process], first: signal.Signals) -> None:
    """Signal the processes and wait until they are gone, by SIGKILL if they linger."""
    remaining = [process for process in processes if process.alive()]
    for sig in (first, signal.SIGKILL):
        for process in remaining:
            with suppress(ProcessLookupError):
                os.kill(process.pid, sig)
        for process in remaining:
            _wait(process)
        remaining = [process for process in remaining if process.alive()]
    if remaining:
        raise ClusterError(f"processes that do not end: {[process.pid for process in remaining]}")


def _wait(process: Process) -> None:
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if process.alive():
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            poller.poll(STOP_TIMEOUT * 1000)
        with suppress(ChildProcessError):
            os.waitpid(process.pid, os.WNOHANG)
    finally:
        os.close(pidfd)


def leftovers(layout: Layout) -> list[Process]:
    """Every process that belongs to the cluster: by its environment or its control group."""
    mine = f"{MARKER}={layout.state}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            by_environment = mine in (entry / "environ").read_bytes().split(b"\0")
            groups = [line.split(":", 2)[2] for line in (entry / "cgroup").read_text().splitlines()]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if by_environment or any(group.startswith(f"{layout.cgroup}/") for group in groups):
            started = start_time(int(entry.name))
            if started is not None:
                found.append(Process(int(entry.name), started))
    return found


def log_file(layout: Layout, name: str) -> Path:
    return layout.logs / f"{name}.log"


def _pid_file(layout: Layout, name: str) -> Path:
    return layout.run / f"{name}.pid"
