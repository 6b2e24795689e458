"""Leader election by a Lease, so that of two replicas one acts.

Who holds the lease leads until he has failed to renew it for `RENEW_SECONDS`, which is less than the
`LEASE_SECONDS` after which another may take it. Both are measured by each replica's own monotonic clock,
from when it saw the lease change: no two clocks are compared (as client-go does it).
"""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from structlog import get_logger

from lclstream_operator.cluster import Cluster
from lclstream_operator.errors import ApiError, Conflict
from lclstream_operator.kinds import LEASE
from lclstream_operator.model import Manifest

LEASE_SECONDS: Final = 15.0
RENEW_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0

_log = get_logger(component="leader")


class Lost(Exception):
    """The lease could not be renewed in time: somebody else may lead by now."""


class Elector:
    """Acquires and keeps a lease.

    Args:
        cluster: where.
        namespace: of the Lease.
        name: of the Lease.
        identity: who we are; no other replica may be called so.
        on_change: told when we lead and when no longer.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        identity: str,
        on_change: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._identity, self._on_change = identity, on_change
        self._loop = asyncio.get_running_loop()
        self._seen: tuple[str, float] = "", 0.0  # version of somebody else's lease, and when it was new to us
        self._renewed = 0.0
        self._leads = False

    async def acquire(self) -> None:
        """Wait until we lead."""
        _log.info("waiting to lead", lease=f"{self._namespace}/{self._name}", identity=self._identity)
        while not await self._try():  # noqa: ASYNC110 - the event is at the API server
            await asyncio.sleep(RETRY_SECONDS * (1 + 0.2 * random.random()))  # noqa: S311 - spreads replicas
        self._leads = True
        self._on_change(True)
        _log.info("leading", identity=self._identity)

    async def keep(self) -> None:
        """Renew the lease for as long as we lead.

        Raises:
            Lost: that failed for too long, or somebody else has it.
        """
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            await self._try()
            if self._loop.time() - self._renewed > RENEW_SECONDS:
                self._leads = False
                self._on_change(False)
                raise Lost(
                    f"lease {self._namespace}/{self._name} could not be renewed for {RENEW_SECONDS:g} s"
                )

    async def release(self) -> None:
        """Give the lease up, so that another need not wait for its end."""
        if not self._leads:
            return
        self._leads = False
        self._on_change(False)
        try:
            lease = await self._cluster.get(LEASE, self._namespace, self._name)
            if lease["spec"].get("holderIdentity") == self._identity:
                await self._cluster.replace(_held(lease, "", lease["spec"]))
        except ApiError as error:
            _log.warning("lease not released", error=str(error))

    async def _try(self) -> bool:
        """Acquire or renew the lease; whether it is ours."""
        started = self._loop.time()
        try:
            async with asyncio.timeout(RENEW_SECONDS / 2):
                ours = await self._write()
        except (ApiError, TimeoutError) as error:
            level = _log.debug if isinstance(error, Conflict) else _log.warning
            level("lease not written", error=str(error) or "no answer in time")
            return False
        if ours:
            self._renewed = started
        return ours

    async def _write(self) -> bool:
        lease = await self._cluster.find(LEASE, self._namespace, self._name)
        if lease is None:
            metadata = {"namespace": self._namespace, "name": self._name}
            new = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": {}}
            await self._cluster.create(_held(new, self._identity, {}))
            return True
        if not self._may_take(lease):
            return False
        # The resourceVersion in it makes this fail when somebody else was faster.
        await self._cluster.replace(_held(lease, self._identity, lease["spec"]))
        return True

    def _may_take(self, lease: Manifest) -> bool:
        holder = lease["spec"].get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = version, self._loop.time()
        seconds = lease["spec"].get("leaseDurationSeconds") or LEASE_SECONDS
        return self._loop.time() - self._seen[1] > seconds


def _held(lease: Manifest, identity: str, before: dict[str, Any]) -> Manifest:
    """The lease as held by somebody; empty: by nobody."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    same = before.get("holderIdentity") == identity
    spec = {
        "holderIdentity": identity,
        "leaseDurationSeconds": int(LEASE_SECONDS) if identity else 1,
        "acquireTime": before.get("acquireTime") if same else now,
        "renewTime": now,
        "leaseTransitions": before.get("leaseTransitions", 0) + (0 if same else 1),
    }
    return {**lease, "spec": spec}
