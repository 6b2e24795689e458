"""The ServiceAccount of a stream's pods: a name without any rights and without a token."""

from lclstream_operator import names
from lclstream_operator.desired.context import Context
from lclstream_operator.model import Manifest


def build_account(context: Context) -> Manifest:
    """The ServiceAccount."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": context.metadata(names.account(context.name), "stream"),
        "automountServiceAccountToken": False,
    }
