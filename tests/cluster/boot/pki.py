"""The cluster's certificates, made with the openssl command.

One CA signs everything. Kubernetes reads a user's name from the common name and the groups from
the organisation, so the subject is what decides the rights of each program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.command import run
from boot.layout import API_SERVICE_IP, CLUSTER_DOMAIN, HOST_API, NODE_IP, NODE_NAME

DAYS = "30"
MASTERS = "system:masters"


@dataclass(frozen=True)
class Identity:
    """A certificate to issue: a client of the API server, a server if it has names, or both."""

    name: str
    user: str
    group: str = ""
    server_names: tuple[str, ...] = ()


IDENTITIES = (
    Identity(
        "kube-apiserver",
        "kube-apiserver",
        server_names=(
            "DNS:localhost",
            "DNS:kubernetes",
            "DNS:kubernetes.default",
            "DNS:kubernetes.default.svc",
            f"DNS:kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"IP:{HOST_API[0]}",
            f"IP:{NODE_IP}",
            f"IP:{API_SERVICE_IP}",
        ),
    ),
    # How the API server introduces itself to the kubelet, for logs and exec.
    Identity("kubelet-client", "kube-apiserver-kubelet-client", MASTERS),
    Identity(
        "kubelet",
        f"system:node:{NODE_NAME}",
        "system:nodes",
        server_names=(f"DNS:{NODE_NAME}", f"IP:{NODE_IP}"),
    ),
    Identity("admin", "kubernetes-admin", MASTERS),
    Identity("kube-controller-manager", "system:kube-controller-manager"),
    Identity("kube-scheduler", "system:kube-scheduler"),
    Identity("kube-proxy", "system:kube-proxy"),
    Identity("coredns", "system:coredns"),
    Identity("cert-manager", "cert-manager", MASTERS),
)


def extensions(identity: Identity) -> str:
    """The X.509 extensions of a leaf certificate, in openssl's configuration syntax."""
    usages = ["clientAuth"]
    if identity.server_names:
        usages.append("serverAuth")
    lines = [
        "basicConstraints = critical, CA:FALSE",
        "keyUsage = critical, digitalSignature",
        f"extendedKeyUsage = {', '.join(usages)}",
    ]
    if identity.server_names:
        lines.append(f"subjectAltName = {', '.join(identity.server_names)}")
    return "\n".join(lines) + "\n"


def subject(identity: Identity) -> str:
    """The subject in openssl's syntax; the group is left out if there is none."""
    organisation = f"/O={identity.group}" if identity.group else ""
    return f"{organisation}/CN={identity.user}"


def create(pki: Path) -> None:
    """Make the CA, every certificate, and the key that signs service account tokens."""
    if (pki / "complete").exists():
        return
    pki.mkdir(parents=True, exist_ok=True)
    pki.chmod(0o700)
    # fmt: off
    run(["openssl", "req", "-x509", *_new_key(pki / "ca.key"), "-days", DAYS,
         "-subj", "/CN=kubernetes-ca", "-addext", "keyUsage = critical, keyCertSign, cRLSign",
         "-out", pki / "ca.crt"])
    # fmt: on
    for identity in IDENTITIES:
        _issue(pki, identity)
    run(["openssl", "genrsa", "-out", pki / "service-accounts.key", "2048"])
    (pki / "complete").touch()


def _issue(pki: Path, identity: Identity) -> None:
    request, extension_file = pki / f"{identity.name}.csr", pki / f"{identity.name}.ext"
    extension_file.write_text(extensions(identity))
    # fmt: off
    run(["openssl", "req", *_new_key(pki / f"{identity.name}.key"),
         "-subj", subject(identity), "-out", request])
    run(["openssl", "x509", "-req", "-in", request, "-days", DAYS, "-extfile", extension_file,
         "-CA", pki / "ca.crt", "-CAkey", pki / "ca.key", "-CAcreateserial",
         "-out", pki / f"{identity.name}.crt"])
    # fmt: on
    request.unlink()
    extension_file.unlink()


def _new_key(path: Path) -> Sequence[str | Path]:
    # fmt: off
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", path]
    # fmt: on
