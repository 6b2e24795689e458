"""What the cluster changes on the machine outside its own directory: control groups and sysctls.

Both are noted before the first change, so that teardown can undo exactly that.
"""

from __future__ import annotations

import json
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
            for directory in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                directory.rmdir()
            top.rmdir()


def save_sysctls(layout: Layout) -> None:
    """Note the machine's values, once: a second boot must not note what the first one set."""
    saved = layout.state / "sysctls.json"
    if not saved.exists():
        values = {name: (PROC_SYS / name).read_text() for name in SYSCTLS}
        saved.write_text(json.dumps(values, indent=2))


def restore_sysctls(layout: Layout) -> None:
    saved = layout.state / "sysctls.json"
    if saved.exists():
        for name, value in json.loads(saved.read_text()).items():
            if (PROC_SYS / name).read_text() != value:
                (PROC_SYS / name).write_text(value)


def mounts_under(directory: Path) -> list[str]:
    """Mount points below a directory, the last one mounted first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(directory)]
