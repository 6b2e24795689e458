"""What to do about a stream: from everything that is observed to everything that follows from it.

Pure: no cluster, no clock, no chance. Whatever is observed, there is a decision; nothing is remembered
between two decisions but what stands in the request's status and in its children. The policies are asked in
order; the first that has something to say decides.
"""

from collections.abc import Callable

from lclstream_operator.case import Case
from lclstream_operator.ending import deleted, ending, finished
from lclstream_operator.model import Decision, Observed
from lclstream_operator.running import on_its_way, refused, suspended
from lclstream_operator.site import SiteConfig

Policy = Callable[[Case], Decision | None]

POLICIES: tuple[Policy, ...] = (deleted, finished, ending, refused, suspended)


def decide(observed: Observed, site: SiteConfig) -> Decision:
    """Decide about a stream.

    Args:
        observed: all that is known.
        site: what the administrator decided.
    """
    case = Case(observed, site)
    for policy in POLICIES:
        decision = policy(case)
        if decision is not None:
            return decision
    return on_its_way(case)
