"""The built-in issuer of certificates, for clusters without cert-manager.

It makes the Secrets that cert-manager would: same names, same keys, so nothing else knows which of the two
ran. The key of a stream's CA stays in the stream's CA Secret, which no pod mounts.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Literal

from lclstream.config import TLS_CA, TLS_CERTIFICATE, TLS_KEY
from lclstream.pki import Authority, Credentials, PkiError
from lclstream_operator import names
from lclstream_operator.cluster import Cluster
from lclstream_operator.errors import Conflict
from lclstream_operator.kinds import CERT_MANAGER, CERT_MANAGER_CHILDREN, SECRET
from lclstream_operator.model import Issue, IssuerKind, Key, Manifest

Choice = Literal["auto", "cert-manager", "builtin"]


class IssuerMissing(Exception):
    """cert-manager was asked for by name, and is not there."""


async def choose(cluster: Cluster, choice: Choice) -> IssuerKind:
    """Who issues certificates here.

    Raises:
        IssuerMissing: cert-manager is to, and its API is not served.
        ApiError: the API server could not be asked.
    """
    if choice == "builtin":
        return "builtin"
    served = await cluster.served(CERT_MANAGER)
    if served >= {kind.plural for kind in CERT_MANAGER_CHILDREN}:
        return "cert-manager"
    if choice == "cert-manager":
        raise IssuerMissing(
            f"--issuer cert-manager: {CERT_MANAGER} is not served here; install cert-manager, or use builtin"
        )
    return "builtin"


def fill(key: Key, issues: Iterable[Issue], children: Iterable[Manifest]) -> list[Manifest]:
    """Secrets with new keys and certificates.

    Args:
        key: the stream.
        issues: what to issue; the CA, if it is among them, first.
        children: what there is, the CA's Secret among it unless it is to be issued.

    Raises:
        Conflict: there is no CA to issue from.
        PkiError: what is in the CA's Secret can't be used.
    """
    authority: Authority | None = None
    filled = []
    for issue in issues:
        if issue.certificate is None:
            authority = Authority(key.namespace, key.name, issue.lifetime)
            filled.append(_filled(issue.secret, authority.export()))
            continue
        authority = authority or _authority(key, children)
        role, dns_names = issue.certificate.role, issue.certificate.dns_names
        credentials = authority.issue(role, dns_names=dns_names, lifetime=issue.lifetime)
        filled.append(_filled(issue.secret, credentials))
    return filled


def credentials_in(secret: Manifest) -> Credentials:
    """The credentials in a TLS Secret, unchecked.

    Raises:
        PkiError: a key is missing or not text.
    """
    origin = f"Secret {secret['metadata']['name']}"
    data: Mapping[str, str] = secret.get("data") or {}
    try:
        ca, certificate, key = (
            base64.b64decode(data[name], validate=True).decode()
            for name in (TLS_CA, TLS_CERTIFICATE, TLS_KEY)
        )
    except KeyError as error:
        raise PkiError(f"{origin}: {error.args[0]} is missing") from None
    except (binascii.Error, UnicodeDecodeError) as error:
        raise PkiError(f"{origin}: not PEM: {error}") from None
    return Credentials(ca, certificate, key, origin)


def _authority(key: Key, children: Iterable[Manifest]) -> Authority:
    name = names.authority(key.name)
    for child in children:
        if child["kind"] == SECRET.kind and child["metadata"]["name"] == name:
            return Authority.load(key.namespace, key.name, credentials_in(child))
    raise Conflict(f"Secret {key.namespace}/{name}", "not there to issue certificates from")


def _filled(secret: Manifest, credentials: Credentials) -> Manifest:
    pem = {TLS_CA: credentials.ca, TLS_CERTIFICATE: credentials.certificate, TLS_KEY: credentials.key}
    data = {name: base64.b64encode(text.encode()).decode() for name, text in pem.items()}
    return {**secret, "type": "kubernetes.io/tls", "data": data}
