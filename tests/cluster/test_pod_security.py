"""The restricted Pod Security Standard is enforced, not only documented."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Namespace, pod
from kubernetes.client import ApiException

COMMAND = ["python3", "-c", "import os; print(os.getuid())"]


def test_a_restricted_namespace_refuses_a_root_pod(
    new_namespace: Callable[..., Namespace],
) -> None:
    namespace = new_namespace(labels={"pod-security.kubernetes.io/enforce": "restricted"})
    as_root = pod("root", namespace.image, COMMAND, securityContext={"runAsUser": 0})

    with pytest.raises(ApiException) as refused:
        namespace.apply(as_root)

    assert refused.value.status == 403
    assert "violates PodSecurity" in str(refused.value.body)

    namespace.apply(pod("user", namespace.image, COMMAND))
    namespace.wait("pod/user", "jsonpath={.status.phase}=Succeeded")
    assert namespace.kubectl("logs", "user") == "1000\n"
