"""What of the machine a cluster could leave behind, as sets that can be compared.

Written without the modules that boot and remove the cluster: it looks at the machine itself, so
that it also sees what those overlooked.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

Snapshot = dict[str, set[str]]

# Counters and identifiers that change on an idle machine.
VOLATILE_SYSCTLS = (
    "fs/aio-nr",
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/quota/",
    "kernel/ns_last_pid",
    "kernel/pty/nr",
    "kernel/random/",
    "net/netfilter/nf_conntrack_count",
)

PROGRAMS = ("kube", "etcd", "containerd", "runc", "coredns", "cert-manager", "pause")


def take() -> Snapshot:
    """Everything a test cluster touches: see the keys."""
    return {
        "processes": _processes(),
        "network namespaces": _network_namespaces(),
        "mounts": _mounts(),
        "network interfaces": _lines("ip", "-o", "link", "show"),
        "addresses": _lines("ip", "-o", "address", "show"),
        "routes": _lines("ip", "route", "show", "table", "all"),
        "nftables": _lines("nft", "list", "ruleset"),
        "control groups": _control_groups(),
        "sysctls": _sysctls(),
        "directories": _directories(),
    }


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """What appeared (+) or vanished (-), one line each."""
    lines = []
    for kind in before:
        lines += [f"+ {kind}: {line}" for line in sorted(after[kind] - before[kind])]
        lines += [f"- {kind}: {line}" for line in sorted(before[kind] - after[kind])]
    return lines


def _processes() -> set[str]:
    """Processes by a cluster program's name, and all that are in another network namespace."""
    own = Path("/proc/self/ns/net").readlink()
    found = set()
    for entry in _process_entries():
        try:
            name = (entry / "comm").read_text().strip()
            elsewhere = (entry / "ns/net").readlink() != own
        except OSError:
            continue
        if elsewhere or name.startswith(PROGRAMS):
            found.add(f"{entry.name} {name}")
    return found


def _network_namespaces() -> set[str]:
    found = set()
    for entry in _process_entries():
        try:
            found.add(str((entry / "ns/net").readlink()))
        except OSError:
            continue
    return found


def _mounts() -> set[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {f"{line.split()[4]} {line.partition(' - ')[2].split()[0]}" for line in lines}


def _control_groups() -> set[str]:
    """The outermost two levels; deeper ones come and go with whatever else the machine runs."""
    top = Path("/sys/fs/cgroup")
    return {str(path) for level in ("*/", "*/*/") for path in top.glob(level)}


def _sysctls() -> set[str]:
    top = Path("/proc/sys")
    found = set()
    for path in top.rglob("*"):
        name = str(path.relative_to(top))
        if path.is_file() and not name.startswith(VOLATILE_SYSCTLS):
            try:
                found.add(f"{name} = {path.read_text(errors='replace').strip()}")
            except OSError:  # some can only be written
                continue
    return found


def _directories() -> set[str]:
    """Two levels below the places where daemons keep their state."""
    found = set()
    for top in ("/run", "/var/lib", "/var/log", "/opt", "/etc"):
        for level in ("*/", "*/*/"):
            found |= {str(path) for path in Path(top).glob(level) if not path.is_symlink()}
    return found


def _process_entries() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _lines(*argv: str) -> set[str]:
    if not shutil.which(argv[0]):
        return set()
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return {line.strip() for line in output.splitlines()}
