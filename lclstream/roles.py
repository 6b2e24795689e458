"""Who a component is, as its certificate says it.

The common name of a certificate's subject is the role; nng lets a server read no more than that.
Stream and namespace stand in the subject and in a URI name as well, and are enforced by the CA:
every stream has its own.
"""

from typing import Literal, get_args

Role = Literal["buffer", "worker", "consumer", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)


def role_uri(namespace: str, stream: str, role: Role) -> str:
    """The URI name of a component's certificate, in the form of a SPIFFE ID."""
    return f"spiffe://lclstream.io/ns/{namespace}/stream/{stream}/role/{role}"
