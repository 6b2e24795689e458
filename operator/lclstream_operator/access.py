"""How the API server is reached: from a pod by its ServiceAccount, elsewhere by a kubeconfig."""

import os
from pathlib import Path
from typing import Any, Final

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoCluster(Exception):
    """Neither a ServiceAccount nor a usable kubeconfig."""


async def configuration() -> Configuration:
    """Where the API server is and who we are; $KUBECONFIG comes before the pod's ServiceAccount.

    Raises:
        NoCluster: it can't be found out.
    """
    made = Configuration()
    try:
        if in_pod() and not os.environ.get("KUBECONFIG"):
            config.load_incluster_config(client_configuration=made)  # type: ignore[no-untyped-call]
        else:
            await config.load_kube_config(client_configuration=made, persist_config=False)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise NoCluster(f"no way to a cluster: {error}; set KUBECONFIG, or run in a pod") from error
    return made


async def login(**_: Any) -> kopf.ConnectionInfo:
    """The same for kopf, which asks again when the API server has refused a token: it may be a new one."""
    found = await configuration()
    scheme, _space, token = (found.api_key.get("BearerToken") or "").partition(" ")
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        insecure=not found.verify_ssl,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        scheme=scheme.capitalize() if token else None,
        token=token or None,
        proxy_url=found.proxy,
    )


def in_pod() -> bool:
    """Whether this is a pod with a ServiceAccount."""
    return (_SERVICE_ACCOUNT / "token").exists()


def own_namespace(default: str) -> str:
    """The namespace of this pod; outside one, the default."""
    file = _SERVICE_ACCOUNT / "namespace"
    return file.read_text().strip() if file.exists() else default
