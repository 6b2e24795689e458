"""Where everything lies and how it is addressed.

One place for it, because the same path or address appears in the configuration of several
programs, and teardown must find everything again that boot made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent

# Addresses exist only inside the cluster's own network namespace, so they collide with nothing.
POD_CIDR = "10.244.0.0/24"
NODE_IP = "10.244.0.1"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
API_PORT = 6443
CLUSTER_DOMAIN = "cluster.local"
NODE_NAME = "lclstream-node"
BRIDGE = "cni0"

# The one address on the host: kubectl and the tests reach the API server through it.
HOST_API = ("127.0.0.1", 16443)

# Every process of the cluster inherits this variable; teardown recognises its own by it.
MARKER = "LCLSTREAM_CLUSTER"

BASE_IMAGE = "localhost/lclstream-base:bookworm"


@dataclass(frozen=True)
class Layout:
    """The paths of one cluster: `state` goes away with the cluster, `cache` stays."""

    state: Path
    cache: Path

    @property
    def run(self) -> Path:
        """Sockets, pid files and the network namespace."""
        return self.state / "run"

    @property
    def netns(self) -> Path:
        return self.run / "netns"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def cgroup(self) -> str:
        """The control group, in every hierarchy, under which all pods live."""
        return f"/{self.state.name}"


def default_layout() -> Layout:
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Layout(
        state=Path("/var/lib/lclstream-cluster"),
        cache=cache_home / "lclstream" / "cluster",
    )
