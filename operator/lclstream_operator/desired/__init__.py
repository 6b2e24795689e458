"""The objects a stream is made of, computed from its Plan: no cluster, clock or chance goes into them.

They come in groups, in the order in which each needs those before it. What is made is decided elsewhere;
`desired` is all of it.
"""

from lclstream_operator.desired.account import build_account
from lclstream_operator.desired.certificates import build_certificates, build_secret, secret_names
from lclstream_operator.desired.config_map import build_config_map
from lclstream_operator.desired.context import Context, child_key
from lclstream_operator.desired.disruption import build_disruption_budget
from lclstream_operator.desired.job import build_job
from lclstream_operator.desired.network_policy import build_network_policies
from lclstream_operator.desired.service import build_service
from lclstream_operator.desired.stateful_set import build_stateful_set
from lclstream_operator.model import Manifest


def certificates(context: Context) -> tuple[Manifest, ...]:
    """What asks cert-manager for certificates, and makes the Secrets that are there ours; else nothing."""
    if context.issuer != "cert-manager":
        return ()
    there = (name for name in secret_names(context) if ("Secret", name) in context.children)
    return (*build_certificates(context), *(build_secret(context, name) for name in there))


def buffers(context: Context) -> tuple[Manifest, ...]:
    """What the buffers need, and the buffers."""
    budget = (build_disruption_budget(context),) if context.site.protect_buffers else ()
    return (
        build_account(context),
        build_config_map(context),
        *build_network_policies(context),
        build_service(context),
        *budget,
        build_stateful_set(context),
    )


def workers(context: Context) -> tuple[Manifest, ...]:
    """The producers."""
    return (build_job(context),)


def desired(context: Context) -> tuple[Manifest, ...]:
    """Everything, in the order in which it is applied."""
    return (*certificates(context), *buffers(context), *workers(context))


__all__ = ["Context", "buffers", "certificates", "child_key", "desired", "secret_names", "workers"]
