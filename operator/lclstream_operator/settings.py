"""How kopf is set up: as an informer, and so that a silent connection or a foreign kopf does not stop it."""

from collections.abc import Iterable
from typing import Final

import kopf

from lclstream.spec import API_GROUP
from lclstream_operator import names
from lclstream_operator.kinds import Kind

PAGE: Final = 500
SERVER_SECONDS: Final = 300
"""A watch lasts so long and is then begun anew: a dead one is noticed even where no bookmark comes."""


def operator_settings(kinds: Iterable[Kind]) -> kopf.OperatorSettings:
    """How kopf is set up.

    Args:
        kinds: those of which only objects that belong to a stream are watched; the API server selects them.
    """
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True  # leadership is a Lease; peering would let any other kopf pause us
    settings.posting.enabled = False  # we record our own Events
    settings.scanning.disabled = True  # no right to list all CRDs and namespaces is needed
    settings.watching.server_timeout = SERVER_SECONDS
    settings.watching.client_timeout = SERVER_SECONDS + 30
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = PAGE
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.process.ultimate_exiting_timeout = 20
    # Neither is ever written, since no handler looks for changes; if one did, it must not be another's.
    settings.persistence.finalizer = f"{API_GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=API_GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=API_GROUP)
    for kind in kinds:
        group, _, version = kind.api_version.rpartition("/")
        settings.watching.label_selectors[group, version, kind.plural] = names.STREAM
    return settings
