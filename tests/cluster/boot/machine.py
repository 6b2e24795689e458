"""What the cluster changes on the machine outside its own directory, and how that is undone.

These are control groups, sysctls, and a few directories that kubelet, CNI and containerd insist
on. What was there before is noted before the first change, so teardown undoes exactly the rest.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

from boot.layout import Layout

# kubelet sets these, and they belong to the machine, not to a namespace. ip_forward is among them
# only to be sure: the namespace has its own.
SYSCTLS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
PROC_SYS = Path("/proc/sys")

# kubelet puts a socket and its checkpoint here, whatever its root directory is.
DEVICE_PLUGINS = "/var/lib/kubelet/device-plugins"
# Made by kubelet, CNI and containerd in fixed places; parents first.
OUTSIDE_DIRECTORIES = (
    "/run/containerd",
    "/run/containerd/s",
    "/var/lib/cni",
    "/var/lib/cni/results",
    "/var/lib/kubelet",
    DEVICE_PLUGINS,
    "/var/log/containers",
)


def hierarchies() -> list[Path]:
    """The mount points of every control group hierarchy, version 1 and 2."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] in ("cgroup", "cgroup2"):
            found.append(Path(before.split()[4]))
    return found


def create_cgroups(layout: Layout) -> None:
    """Make the control group that kubelet puts its pods under; kubelet wants it to exist."""
    for hierarchy in hierarchies():
        Path(f"{hierarchy}{layout.cgroup}").mkdir(exist_ok=True)


def remove_cgroups(layout: Layout) -> None:
    """Remove the control groups, innermost first; no process may be left in them."""
    for hierarchy in hierarchies():
        top = Path(f"{hierarchy}{layout.cgroup}")
        if top.exists():
            inner = sorted(path for path in top.rglob("*") if path.is_dir())
            for directory in [*reversed(inner), top]:
                directory.rmdir()


def note_before(layout: Layout) -> None:
    """Note how the machine was, once: a second boot must not note what the first one did."""
    note = layout.state / "before.json"
    if not note.exists():
        before = {
            "sysctls": {name: (PROC_SYS / name).read_text() for name in SYSCTLS},
            "directories": [name for name in OUTSIDE_DIRECTORIES if Path(name).exists()],
        }
        note.write_text(json.dumps(before, indent=2))


def restore_before(layout: Layout) -> None:
    """Bring sysctls back to their noted values and remove the directories that were not there."""
    note = layout.state / "before.json"
    if not note.exists():
        return
    before = json.loads(note.read_text())
    for name, value in before["sysctls"].items():
        if (PROC_SYS / name).read_text() != value:
            (PROC_SYS / name).write_text(value)
    _remove_outside_files(layout.state)
    added = [name for name in OUTSIDE_DIRECTORIES if name not in before["directories"]]
    for name in reversed(added):
        if name == DEVICE_PLUGINS:
            shutil.rmtree(name, ignore_errors=True)
        else:
            # Not empty means that somebody else uses it by now.
            with suppress(OSError):
                Path(name).rmdir()


def _remove_outside_files(state: Path) -> None:
    """Remove what kubelet and CNI wrote to fixed places about the pods of this cluster."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(state):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob("*"):
        if str(state) in result.read_text():
            result.unlink()


def mounts_under(directory: Path) -> list[str]:
    """Mount points below a directory, the last one mounted first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(directory)]
