"""Whether a stream's certificates can be used, and which ones the built-in issuer has to make."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from lclstream.config import TLS_CA, TLS_CERTIFICATE, TLS_KEY
from lclstream_operator import names, reading
from lclstream_operator.desired import Context, secret_names
from lclstream_operator.desired.certificates import build_secret, leaves
from lclstream_operator.model import Issue, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How the certificates stand.

    Attributes:
        ready: every component has one that is valid.
        reason: in one word.
        message: what is missing, and what to do.
        issue: what the built-in issuer has to make, the CA before what it signs.
        next_due: when the next one has to be renewed by us; None: not by us.
    """

    ready: bool
    reason: str
    message: str
    issue: tuple[Issue, ...] = ()
    next_due: datetime | None = None


def state(context: Context, now: datetime) -> State:
    """How the certificates of a stream stand."""
    return _of_cert_manager(context) if context.issuer == "cert-manager" else _of_builtin(context, now)


def _of_cert_manager(context: Context) -> State:
    missing = [why for name in secret_names(context) if (why := _pending(context, name))]
    if missing:
        return State(
            ready=False,
            reason="Issuing",
            message=f"cert-manager has not issued: {reading.listing(missing)}; if this stays so, "
            f"look at: kubectl -n {context.plan.namespace} describe certificate,issuer",
        )
    return State(ready=True, reason="Issued", message="cert-manager issued a certificate to each component.")


def _pending(context: Context, name: str) -> str | None:
    """Why a certificate of cert-manager can't be used yet."""
    certificate = context.children.get(("Certificate", name))
    if certificate is None:
        return f"{name} (not asked for yet)"
    condition = reading.condition(certificate, "Ready")
    generation = reading.number(certificate, "metadata", "generation")
    if condition.get("status") != "True":
        return f"{name} ({reading.text(condition, 'message') or 'no word from cert-manager'})"
    if reading.number(condition, "observedGeneration") < generation:
        return f"{name} (changed just now)"
    if not _has_data(context.children.get(("Secret", name))):
        return f"{name} (its Secret is missing)"
    return None


def _has_data(secret: Manifest | None) -> bool:
    return all(reading.text(secret, "data", key) for key in (TLS_CA, TLS_CERTIFICATE, TLS_KEY))


def _of_builtin(context: Context, now: datetime) -> State:
    site, name = context.site, names.authority(context.name)
    authority = _load(context.children.get(("Secret", name)))
    if authority is None or now >= _due(authority):
        issue = Issue(build_secret(context, name), None, site.authority_lifetime)
        # What it signs waits for the next pass, when the new CA is there to be compared with.
        return State(
            ready=False, reason="Issuing", message=f"The stream's CA {name} is made.", issue=(issue,)
        )
    issues, due, unusable = [], [_due(authority)], []
    for leaf in leaves(context):
        secret_name = names.secret(context.name, leaf.name)
        own = _load(context.children.get(("Secret", secret_name)))
        valid = own is not None and _fits(own, authority, leaf.role, leaf.dns_names)
        if own is None or not valid or now >= own.not_valid_after_utc:
            unusable.append(secret_name)
        if own is not None and valid and now < _due(own):
            due.append(_due(own))
        else:
            issues.append(Issue(build_secret(context, secret_name), leaf, site.certificate_lifetime))
    if unusable:
        message = f"Certificates are made: {', '.join(unusable)}."
        return State(ready=False, reason="Issuing", message=message, issue=tuple(issues), next_due=min(due))
    message = "The built-in issuer issued a certificate to each component."
    return State(ready=True, reason="Issued", message=message, issue=tuple(issues), next_due=min(due))


def _due(certificate: x509.Certificate) -> datetime:
    """When two thirds of its life are over, which is when to renew it."""
    life: timedelta = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_before_utc + life * 2 / 3


def _fits(own: x509.Certificate, authority: x509.Certificate, role: str, dns_names: Sequence[str]) -> bool:
    """Whether it is what we would issue now: from this CA, for this role and these names."""
    try:
        own.verify_directly_issued_by(authority)
        found = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        common = own.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.ExtensionNotFound):
        return False
    carried = set(found.get_values_for_type(x509.DNSName))
    return [name.value for name in common] == [role] and carried >= set(dns_names)


def _load(secret: Manifest | None) -> x509.Certificate | None:
    """The certificate in a Secret, if it and its key are there and it can be read."""
    if not _has_data(secret):
        return None
    return _parse(reading.get(secret, "data", TLS_CERTIFICATE))


def _parse(data: Any) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(base64.b64decode(data, validate=True))
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        return None
