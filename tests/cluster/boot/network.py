"""The network namespace in which the whole cluster lives, and the way into it.

Inside are `lo` and one bridge, and no route leads out, so nothing in the cluster can send a
packet off the machine, whatever it tries. The host gets no interface, address or route at all.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from boot.command import run
from boot.layout import BRIDGE, NODE_IP, POD_CIDR, SERVICE_CIDR, Layout

CLONE_NEWNET = 0x40000000


def inside(layout: Layout) -> list[str]:
    """The words to put in front of a command to run it inside the namespace.

    nsenter and not `ip netns exec`: that one mounts a new /sys and so hides /sys/fs/cgroup.
    """
    return ["nsenter", f"--net={layout.netns}"]


def exists(layout: Layout) -> bool:
    return any(
        line.split()[4] == str(layout.netns) for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )


def create(layout: Layout) -> None:
    """Make the namespace with its bridge, unless it is there."""
    if exists(layout):
        return
    layout.run.mkdir(parents=True, exist_ok=True)
    layout.netns.touch()
    run(["unshare", f"--net={layout.netns}", "ip", "link", "set", "lo", "up"])
    prefix = POD_CIDR.partition("/")[2]
    commands = (
        # A fixed MAC address: otherwise the bridge takes one from its ports and changes it as
        # pods come and go, and the pods' ARP entries for their gateway go stale.
        f"ip link add {BRIDGE} address 02:00:0a:f4:00:01 type bridge",
        f"ip address add {NODE_IP}/{prefix} dev {BRIDGE}",
        f"ip link set {BRIDGE} up",
        # A process on the node reaches a Service only if its address is routed somewhere before
        # kube-proxy's rules rewrite it.
        f"ip route add {SERVICE_CIDR} dev {BRIDGE}",
        "sysctl -q -w net.ipv4.ip_forward=1",
        "sysctl -q -w net.bridge.bridge-nf-call-iptables=1",
    )
    for command in commands:
        run([*inside(layout), *command.split()])


def enter(netns: Path) -> None:
    """Move the calling thread into a network namespace; its open sockets stay where they are."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(netns, os.O_RDONLY)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns: {netns}")
    finally:
        os.close(descriptor)
