"""cert-manager issues a certificate whose chain a TLS library accepts."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from typing import Any

from boot import components, lifecycle
from harness import Cluster, Namespace

CERT_MANAGER = "cert-manager.io/v1"


def issuer(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": CERT_MANAGER,
        "kind": "Issuer",
        "metadata": {"name": name},
        "spec": spec,
    }


def certificate(name: str, issuer_name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": CERT_MANAGER,
        "kind": "Certificate",
        "metadata": {"name": name},
        "spec": {
            "secretName": name,
            "issuerRef": {"name": issuer_name},
            "privateKey": {"algorithm": "ECDSA", "size": 256},
            **spec,
        },
    }


def secret_file(namespace: Namespace, secret: str, key: str, directory: Path) -> Path:
    path = directory / f"{secret}-{key}"
    data = namespace.get("v1", "Secret", secret)["data"]
    path.write_bytes(base64.b64decode(data[key]))
    return path


def verify(ca: Path, leaf: Path) -> subprocess.CompletedProcess[str]:
    argv = ["openssl", "verify", "-CAfile", str(ca), "-purpose", "sslserver", str(leaf)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_a_ca_issuer_issues_a_chain_that_openssl_accepts(namespace: Namespace, tmp_path: Path) -> None:
    namespace.apply(
        issuer("self-signed", selfSigned={}),
        certificate("ca", "self-signed", isCA=True, commonName="stream-ca"),
        certificate("other-ca", "self-signed", isCA=True, commonName="another-ca"),
        issuer("ca", ca={"secretName": "ca"}),
        certificate("buffer", "ca", dnsNames=["buffer.example"], usages=["digital signature", "server auth"]),
    )
    for name in ("issuer/self-signed", "issuer/ca", "certificate/ca", "certificate/buffer"):
        namespace.wait(name, "condition=Ready")
    namespace.wait("certificate/other-ca", "condition=Ready")

    leaf = secret_file(namespace, "buffer", "tls.crt", tmp_path)
    ca = secret_file(namespace, "buffer", "ca.crt", tmp_path)
    accepted = verify(ca, leaf)
    assert accepted.returncode == 0, accepted.stderr
    assert ca.read_bytes() == secret_file(namespace, "ca", "tls.crt", tmp_path).read_bytes()
    assert verify(secret_file(namespace, "other-ca", "tls.crt", tmp_path), leaf).returncode != 0


def test_certificates_wait_while_cert_manager_is_stopped(own_cluster: Cluster, namespace: Namespace) -> None:
    layout = own_cluster.layout
    assert layout
    cert_manager = components.component("cert-manager")
    with lifecycle.exclusive(layout):
        components.stop(layout, cert_manager)
        try:
            namespace.apply(issuer("self-signed", selfSigned={}))
            assert "status" not in namespace.get(CERT_MANAGER, "Issuer", "self-signed")
        finally:
            components.start(layout, cert_manager)
            components.wait(layout, cert_manager)
    namespace.wait("issuer/self-signed", "condition=Ready")
