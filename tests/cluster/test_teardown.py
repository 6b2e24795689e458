"""`cluster.py down` leaves the machine as `cluster.py up` found it.

This test boots a cluster of its own, so it is left out of an ordinary run and has to be named:

pytest tests/cluster/test_teardown.py
"""

from __future__ import annotations

from boot import lifecycle, machine, snapshot
from boot.layout import default_layout
from harness import Cluster, Namespace, pod_spec

WEB = ["python3", "-m", "http.server", "8080"]


def use(cluster: Cluster) -> None:
    """Make the cluster do all that leaves traces: run pods, mount a Secret, program a Service."""
    namespace = Namespace(cluster, "traces")
    namespace.create()
    labels = {"app": "web"}
    mounts = [{"name": "secret", "mountPath": "/secret"}]
    spec = {
        **pod_spec(cluster.image, WEB, volumeMounts=mounts),
        "volumes": [{"name": "secret", "secret": {"secretName": "web"}}],
    }
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "web"},
            "stringData": {"key": "value"},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
    )
    namespace.wait("deployment/web", "condition=Available")
    namespace.kubectl("exec", "deployment/web", "--", "python3", "-V")


def test_down_leaves_nothing_behind() -> None:
    layout = default_layout()
    assert not layout.state.exists(), "needs a machine without the cluster: run `cluster.py down`"
    with lifecycle.exclusive(layout):
        lifecycle.fetch(layout)
        before = snapshot.take()
        try:
            lifecycle.up(layout)
            use(Cluster.at(str(layout.admin_kubeconfig), layout))
            during = snapshot.differences(before, snapshot.take())
        finally:
            lifecycle.down(layout)
        after = snapshot.differences(before, snapshot.take())

    assert not after, "\n".join(after)
    # The comparison would have seen each kind of trace.
    for kind in ("processes", "network namespaces", "mounts", "control groups", "sysctls"):
        assert any(line.startswith(f"+ {kind}: ") for line in during), kind
    assert machine.mounts_under(layout.state) == []
