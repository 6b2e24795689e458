"""Secrets as files in a pod, the way certificates reach a component."""

from __future__ import annotations

from harness import Namespace, pod_spec


def test_a_secret_is_mounted(namespace: Namespace) -> None:
    mount = [{"name": "tls", "mountPath": "/etc/tls", "readOnly": True}]
    script = "print(open('/etc/tls/key').read())"
    spec = pod_spec(namespace.image, ["python3", "-c", script], volumeMounts=mount)
    namespace.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "tls"},
            "stringData": {"key": "well kept"},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "reader"},
            "spec": {
                **spec,
                "restartPolicy": "Never",
                "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
            },
        },
    )
    namespace.wait("pod/reader", "jsonpath={.status.phase}=Succeeded")

    assert namespace.kubectl("logs", "reader") == "well kept\n"
