"""Pods find each other by the DNS name of a Service."""

from __future__ import annotations

from typing import Any

from harness import Namespace, pod_spec

SERVER = """
import http.server, socket

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(socket.gethostname().encode())

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""

# kube-proxy tells nobody when it has programmed a new endpoint, so the client tries again.
CLIENT = """
import sys, time, urllib.request

seen = set()
for _ in range(150):
    try:
        seen.add(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
    except OSError:
        time.sleep(0.2)
    if len(seen) == 2:
        break
print(*sorted(seen))
"""


def ready_endpoints(slices: list[dict[str, Any]]) -> int:
    endpoints = [one for each in slices for one in each.get("endpoints") or []]
    return sum(bool(one.get("conditions", {}).get("ready")) for one in endpoints)


def test_two_pods_talk_through_a_service_by_its_dns_name(namespace: Namespace) -> None:
    labels = {"app": "echo"}
    template = {
        "metadata": {"labels": labels},
        "spec": pod_spec(namespace.image, ["python3", "-c", SERVER]),
    }
    namespace.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "echo"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "echo"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    namespace.wait("deployment/echo", "condition=Available")
    namespace.watch(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        lambda slices: ready_endpoints(slices) == 2,
        selector="kubernetes.io/service-name=echo",
    )

    pods = namespace.kubectl("get", "pods", "-l", "app=echo", "-o", "name").split()
    names = sorted(name.removeprefix("pod/") for name in pods)
    url = f"http://echo.{namespace.name}.svc.cluster.local"
    for name in names:
        answered = namespace.kubectl("exec", name, "--", "python3", "-c", CLIENT, url)
        assert answered.split() == names
