"""The headless Service that gives each buffer a name of its own."""

from lclstream.config import BufferListen
from lclstream_operator import names
from lclstream_operator.desired.context import Context
from lclstream_operator.model import Manifest


def listened(context: Context) -> dict[str, int]:
    """Ports a buffer listens on, by name; the way out is that of the delivery mode."""
    config = context.plan.buffers[0].config
    listen: BufferListen = config.listen
    way = {"lease": listen.lease} if config.mode == "lease" else {"push": listen.push}
    return {"ingest": listen.ingest, **way, "status": listen.status}


def build_service(context: Context) -> Manifest:
    """The Service.

    Addresses are published before readiness: a consumer or worker that asks a moment too early would
    otherwise be told that the name doesn't exist, and its resolver would remember that.
    """
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": context.metadata(names.buffer(context.name), "buffer"),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": context.selector("buffer"),
            "ports": [
                {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
                for name, port in listened(context).items()
            ],
        },
    }
