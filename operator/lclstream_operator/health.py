"""Probes and metrics over HTTP: ``/healthz``, ``/readyz``, ``/metrics``.

Alive means that the event loop turns and no worker has been at the same stream for too long; a kubelet that
hears otherwise starts the process again. Ready means indexing is done and we lead, or stand by.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Literal

from aiohttp import web
from prometheus_client import generate_latest

from lclstream_operator.metrics import Metrics

BEAT_SECONDS: Final = 1.0
STUCK_SECONDS: Final = 300.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"

State = Literal["starting", "standby", "leading", "stopping"]


class Health:
    """What probes are told.

    Args:
        metrics: shown, and filled in when asked.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._time = asyncio.get_running_loop().time
        self._runner: web.AppRunner | None = None
        self.state: State = "starting"
        self.longest_working: Callable[[], float] = lambda: 0.0
        self.phases: Callable[[], list[str]] = list

    async def listen(self, port: int) -> None:
        """Begin to answer.

        Raises:
            OSError: the port is taken.
        """
        app = web.Application()
        pages = (("/healthz", self._alive), ("/readyz", self._ready), ("/metrics", self._show))
        app.add_routes([web.get(path, page) for path, page in pages])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, port=port).start()

    async def close(self) -> None:
        """Stop answering."""
        if self._runner:
            await self._runner.cleanup()

    async def beat(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        while True:
            due = self._time() + BEAT_SECONDS
            await asyncio.sleep(BEAT_SECONDS)
            self._metrics.loop_lag.set(max(0.0, self._time() - due))

    async def _alive(self, _: web.Request) -> web.Response:
        stuck = self.longest_working()
        if stuck > STUCK_SECONDS:
            return web.Response(status=503, text=f"a worker has been at the same stream for {stuck:.0f} s\n")
        return web.Response(text="alive\n")

    async def _ready(self, _: web.Request) -> web.Response:
        ready = self.state in ("standby", "leading")
        return web.Response(status=200 if ready else 503, text=f"{self.state}\n")

    async def _show(self, _: web.Request) -> web.Response:
        self._metrics.longest_running.set(self.longest_working())
        self._metrics.phases(self.phases())
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": _TEXT})
