"""Deleting an owner deletes what it owns."""

from __future__ import annotations

from harness import Namespace


def test_deleting_an_owner_garbage_collects_its_children(namespace: Namespace) -> None:
    def config_map(name: str, **metadata: object) -> dict[str, object]:
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, **metadata},
        }

    namespace.apply(config_map("owner"), config_map("stranger"))
    uid = namespace.get("v1", "ConfigMap", "owner")["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    namespace.apply(config_map("child", ownerReferences=[reference]))

    namespace.kubectl("delete", "configmap/owner", "--cascade=background")
    namespace.wait("configmap/child", "delete")

    assert namespace.get("v1", "ConfigMap", "stranger")["metadata"]["name"] == "stranger"
