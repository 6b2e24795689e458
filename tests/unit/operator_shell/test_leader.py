"""Of any number of replicas one leads, and says so no longer than it may."""

import asyncio

import pytest

from lclstream_operator.errors import Transient
from lclstream_operator.kinds import LEASE
from lclstream_operator.leader import LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, Elector, Lost
from unit.operator_shell.fake_cluster import FakeCluster
from unit.operator_shell.fake_time import run

AWAY = Transient("PUT", "no answer")


def elector(cluster: FakeCluster, identity: str, told: list[bool] | None = None) -> Elector:
    return Elector(cluster, "system", "lease", identity, (told if told is not None else []).append)


async def holder(cluster: FakeCluster) -> str:
    lease = await cluster.get(LEASE, "system", "lease")
    return str(lease["spec"]["holderIdentity"])


def now() -> float:
    return asyncio.get_running_loop().time()


def test_the_first_leads_at_once_and_the_second_waits() -> None:
    async def test() -> None:
        cluster, told = FakeCluster(), []
        first, second = elector(cluster, "first", told), elector(cluster, "second")
        await first.acquire()
        assert told == [True]
        keeping = asyncio.create_task(first.keep())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.acquire(), 1000)
        assert await holder(cluster) == "first"
        keeping.cancel()

    run(test())


def test_a_leader_that_dies_is_followed_when_its_lease_is_over() -> None:
    async def test() -> None:
        cluster = FakeCluster()
        await elector(cluster, "first").acquire()
        await elector(cluster, "second").acquire()
        assert LEASE_SECONDS < now() < LEASE_SECONDS + 2 * RETRY_SECONDS
        lease = await cluster.get(LEASE, "system", "lease")
        assert lease["spec"]["holderIdentity"] == "second"
        assert lease["spec"]["leaseTransitions"] == 2

    run(test())


def test_a_leader_that_leaves_is_followed_at_once() -> None:
    async def test() -> None:
        cluster, told = FakeCluster(), []
        first, second = elector(cluster, "first", told), elector(cluster, "second")
        await first.acquire()
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(5)
        await first.release()
        await waiting
        assert now() < 5 + 2 * RETRY_SECONDS
        assert told == [True, False]

    run(test())


def test_a_leader_that_can_not_renew_ends_before_another_may_begin() -> None:
    async def test() -> None:
        cluster, told = FakeCluster(), []
        first = elector(cluster, "first", told)
        await first.acquire()
        cluster.failure = AWAY
        with pytest.raises(Lost, match="system/lease could not be renewed for 10 s"):
            await first.keep()
        assert RENEW_SECONDS < now() < LEASE_SECONDS
        assert told == [True, False]

    run(test())


def test_a_leader_that_renews_again_in_time_goes_on() -> None:
    async def test() -> None:
        cluster = FakeCluster()
        first = elector(cluster, "first")
        await first.acquire()
        keeping = asyncio.create_task(first.keep())
        for _ in range(5):
            cluster.failure = AWAY
            await asyncio.sleep(RENEW_SECONDS - 2 * RETRY_SECONDS)
            cluster.failure = None
            await asyncio.sleep(2 * RETRY_SECONDS)
        assert not keeping.done()
        keeping.cancel()

    run(test())


def test_a_lease_is_not_given_up_for_another() -> None:
    async def test() -> None:
        cluster = FakeCluster()
        first, second = elector(cluster, "first"), elector(cluster, "second")
        await first.acquire()
        await second.acquire()  # the first slept too long
        await first.release()
        assert await holder(cluster) == "second"

    run(test())


def test_two_that_want_the_same_free_lease_do_not_both_get_it() -> None:
    async def test() -> None:
        cluster = FakeCluster()
        electors = [elector(cluster, f"{number}") for number in range(5)]
        tasks = [asyncio.create_task(one.acquire()) for one in electors]
        await asyncio.sleep(1)
        assert sum(task.done() for task in tasks) == 1
        for task in tasks:
            task.cancel()

    run(test())
