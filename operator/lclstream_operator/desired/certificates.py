"""The certificates of a stream, as cert-manager is asked for them and as Secrets.

A self-signed Issuer signs the stream's CA, an Issuer made from that CA signs one certificate for each
component. The CA keeps its key when it is renewed, so that what it signed before stays valid; a component's
key is new each time.
"""

from typing import Any

from lclstream.plan import Certificate
from lclstream.roles import role_uri
from lclstream_operator import names
from lclstream_operator.desired.context import Context
from lclstream_operator.model import Manifest

API_VERSION = "cert-manager.io/v1"


def leaves(context: Context) -> tuple[Certificate, ...]:
    """The certificates signed by the stream's CA."""
    plan = context.plan
    return (plan.buffers[0].certificate, plan.workers.certificate, plan.consumer, plan.operator)


def build_certificates(context: Context) -> tuple[Manifest, ...]:
    """Issuers and Certificates for cert-manager, in the order they depend on each other."""
    name = context.name
    authority = names.authority(name)
    return (
        _issuer(context, names.self_signed(name), {"selfSigned": {}}),
        _authority(context),
        _issuer(context, authority, {"ca": {"secretName": authority}}),
        *(_leaf(context, certificate) for certificate in leaves(context)),
    )


def build_secret(context: Context, name: str) -> Manifest:
    """A Secret without its data: what the built-in issuer fills, and what makes cert-manager's ours.

    cert-manager leaves its Secrets behind; our owner reference has them deleted with the stream. Such a
    Secret can't be made from this by mistake: its type demands data.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": context.metadata(name, "certificates"),
        "type": "kubernetes.io/tls",
    }


def secret_names(context: Context) -> tuple[str, ...]:
    """All Secrets of the stream, the CA's first."""
    own = (names.secret(context.name, certificate.name) for certificate in leaves(context))
    return (names.authority(context.name), *own)


def _issuer(context: Context, name: str, spec: dict[str, Any]) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "Issuer",
        "metadata": context.metadata(name, "certificates"),
        "spec": spec,
    }


def _authority(context: Context) -> Manifest:
    seconds = context.site.authority_seconds
    spec = {
        "isCA": True,
        "commonName": "ca",
        "duration": _duration(seconds),
        "renewBefore": _duration(seconds // 3),
        "usages": ["cert sign", "crl sign"],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Never"},
    }
    name = names.authority(context.name)
    return _certificate(context, name, names.self_signed(context.name), spec)


def _leaf(context: Context, certificate: Certificate) -> Manifest:
    seconds = context.site.certificate_seconds
    usages = ["digital signature", "client auth"]
    if certificate.dns_names:
        usages.append("server auth")
    spec: dict[str, Any] = {
        "commonName": certificate.role,
        "duration": _duration(seconds),
        "renewBefore": _duration(seconds // 3),
        "usages": usages,
        "uris": [role_uri(context.plan.namespace, context.name, certificate.role)],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always"},
    }
    if certificate.dns_names:
        spec["dnsNames"] = certificate.dns_names
    name = names.secret(context.name, certificate.name)
    return _certificate(context, name, names.authority(context.name), spec)


def _certificate(context: Context, name: str, issuer: str, spec: dict[str, Any]) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": "Certificate",
        "metadata": context.metadata(name, "certificates"),
        "spec": {
            "secretName": name,
            "secretTemplate": {"labels": context.labels("certificates")},
            "subject": {
                "organizations": [context.name],
                "organizationalUnits": [context.plan.namespace],
            },
            "issuerRef": {"name": issuer, "kind": "Issuer", "group": "cert-manager.io"},
            "revisionHistoryLimit": 1,
            **spec,
        },
    }


def _duration(seconds: int) -> str:
    """As Go writes it, so that what is applied is what is stored."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s"
