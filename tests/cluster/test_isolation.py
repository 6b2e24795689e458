"""Nothing in the cluster can send a packet off the machine."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from boot import network
from boot.layout import BRIDGE
from harness import Cluster, Namespace, pod

# 192.0.2.0/24 is set aside for documentation: nothing is ever there.
OUTSIDE = """
import socket
for name, port in (("192.0.2.1", 80), ("www.example.com", 80)):
    try:
        socket.create_connection((name, port), timeout=5)
        print("connected")
    except socket.gaierror as error:
        print("unknown" if error.errno == socket.EAI_NONAME else error)
    except OSError as error:
        print(error.strerror)
"""


def ip(cluster: Cluster, *words: str) -> list[dict[str, Any]]:
    assert cluster.layout
    argv = [*network.inside(cluster.layout), "ip", "-json", *words]
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return list(json.loads(output))


def test_the_namespace_has_only_a_bridge_and_no_route_out(own_cluster: Cluster) -> None:
    links = ip(own_cluster, "-details", "link", "show")
    not_pods = {link["ifname"] for link in links if link.get("master") != BRIDGE}
    assert not_pods == {"lo", BRIDGE}
    routes = ip(own_cluster, "route", "show")
    assert {route["dev"] for route in routes} == {BRIDGE}
    assert "default" not in {route["dst"] for route in routes}


def test_a_pod_cannot_reach_outside(own_cluster: Cluster, namespace: Namespace) -> None:
    namespace.apply(pod("caller", own_cluster.image, ["python3", "-c", OUTSIDE]))
    namespace.wait("pod/caller", "jsonpath={.status.phase}=Succeeded")
    assert namespace.kubectl("logs", "caller").split("\n")[:2] == [
        "Network is unreachable",
        "unknown",
    ]
