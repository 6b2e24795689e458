"""A single component can be stopped and started, and the cluster recovers."""

from __future__ import annotations

import pytest
from boot import components, lifecycle, process
from boot.command import ClusterError
from boot.layout import NODE_NAME
from harness import Cluster, Namespace, pod


def test_a_stopped_component_is_started_again_by_up(own_cluster: Cluster, namespace: Namespace) -> None:
    layout = own_cluster.layout
    assert layout
    scheduler = components.component("kube-scheduler")
    with lifecycle.exclusive(layout):
        names = [one.name for one in components.COMPONENTS]
        before = {name: process.find(layout, name) for name in names}
        components.stop(layout, scheduler)
        assert process.find(layout, scheduler.name) is None
        assert not lifecycle.is_up(layout)

        lifecycle.up(layout)

        after = {name: process.find(layout, name) for name in names}
        assert [name for name in names if after[name] != before[name]] == [scheduler.name]
    namespace.apply(pod("one", own_cluster.image, ["python3", "-V"]))
    namespace.wait("pod/one", "jsonpath={.status.phase}=Succeeded")
    assert f"node/{NODE_NAME}" in own_cluster.kubectl("get", "nodes", "-o", "name")


def test_an_unknown_component_is_named_in_the_error() -> None:
    with pytest.raises(ClusterError, match="kube-dns is not one of: etcd, kube-apiserver"):
        components.component("kube-dns")
