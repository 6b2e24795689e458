"""The work queue: each key once, never twice at a time, when it is due."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstream_operator.queue import Backoff, Closed, WorkQueue
from unit.operator_shell.fake_time import Deadlock, run

STEADY = Backoff(first=1, longest=10, jitter=0)


class Counts:
    def __init__(self) -> None:
        self.adds = self.retries = 0
        self.waits: list[float] = []
        self.depths: list[int] = []

    def added(self) -> None:
        self.adds += 1

    def retried(self) -> None:
        self.retries += 1

    def waited(self, seconds: float) -> None:
        self.waits.append(seconds)

    def depth(self, keys: int) -> None:
        self.depths.append(keys)


def with_queue(test: Callable[[WorkQueue[str], Counts], Awaitable[None]]) -> None:
    async def inside() -> None:
        counts = Counts()
        await test(WorkQueue(STEADY, counts), counts)

    run(inside())


async def now() -> float:
    return asyncio.get_running_loop().time()


async def taken(queue: WorkQueue[str]) -> tuple[str, float]:
    """The next key, worked on in no time, and when it came."""
    key = await queue.get()
    queue.done(key)
    return key, await now()


async def nothing_more(queue: WorkQueue[str]) -> bool:
    """Whether the queue is silent for ever after."""
    try:
        await asyncio.wait_for(queue.get(), 1e6)
    except TimeoutError:
        return True
    return False


def test_a_key_put_twice_is_there_once() -> None:
    async def test(queue: WorkQueue[str], counts: Counts) -> None:
        for key in ("a", "b", "a"):
            queue.put(key)
        assert len(queue) == 2
        assert [(await taken(queue))[0] for _ in range(2)] == ["a", "b"]
        assert await nothing_more(queue)
        assert counts.adds == 2

    with_queue(test)


def test_a_key_put_while_it_is_worked_on_comes_back_afterwards_and_once() -> None:
    async def test(queue: WorkQueue[str], _: Counts) -> None:
        queue.put("a")
        assert await queue.get() == "a"
        queue.put("a")
        queue.put("a")
        assert len(queue) == 0
        queue.done("a")
        assert len(queue) == 1

    with_queue(test)


def test_a_key_is_never_with_two_workers() -> None:
    async def test(queue: WorkQueue[str], _: Counts) -> None:
        at_work: set[str] = set()
        seen: list[str] = []

        async def worker() -> None:
            while True:
                try:
                    key = await queue.get()
                except Closed:
                    return
                assert key not in at_work
                at_work.add(key)
                seen.append(key)
                await asyncio.sleep(1)
                at_work.remove(key)
                queue.done(key)

        workers = [asyncio.create_task(worker()) for _ in range(4)]
        for _ in range(10):
            for key in ("a", "b"):
                queue.put(key)
            await asyncio.sleep(0.3)
        await asyncio.sleep(10)
        queue.close()
        await asyncio.gather(*workers)
        # Three seconds of putting, a second of work each time.
        assert 3 <= seen.count("a") <= 5

    with_queue(test)


def test_of_two_delays_the_earlier_counts_whichever_comes_first() -> None:
    async def test(queue: WorkQueue[str], _: Counts) -> None:
        queue.put_after("a", 10)
        queue.put_after("a", 3)
        queue.put_after("b", 4)
        queue.put_after("b", 20)
        assert await taken(queue) == ("a", 3)
        assert await taken(queue) == ("b", 4)
        assert await nothing_more(queue)

    with_queue(test)


def test_work_makes_an_earlier_delay_void() -> None:
    async def test(queue: WorkQueue[str], _: Counts) -> None:
        queue.put_after("a", 5)
        queue.put("a")
        assert await taken(queue) == ("a", 0)
        queue.put_after("a", 60)
        assert await taken(queue) == ("a", 60)

    with_queue(test)


def test_a_delay_that_ends_during_work_is_not_lost() -> None:
    async def test(queue: WorkQueue[str], _: Counts) -> None:
        queue.put("a")
        key = await queue.get()
        queue.put_after("a", 1)
        await asyncio.sleep(5)
        queue.done(key)
        assert await taken(queue) == ("a", 5)

    with_queue(test)


def test_failures_in_a_row_wait_longer_each_time_up_to_a_bound() -> None:
    async def test(queue: WorkQueue[str], counts: Counts) -> None:
        assert [queue.retry("a") for _ in range(6)] == [1, 2, 4, 8, 10, 10]
        assert queue.retry("b") == 1
        queue.forget("a")
        assert queue.retry("a") == 1
        assert queue.retry("c", at_least=7) == 7
        assert counts.retries == 9

    with_queue(test)


def test_what_happens_is_counted() -> None:
    async def test(queue: WorkQueue[str], counts: Counts) -> None:
        queue.put("a")
        queue.put("b")
        await asyncio.sleep(2)
        key = await queue.get()
        await asyncio.sleep(3)
        assert queue.longest_working() == 3
        queue.done(key)
        await taken(queue)
        assert queue.longest_working() == 0
        assert counts.waits == [2, 5]
        assert counts.depths == [1, 2, 1, 0]

    with_queue(test)


def test_closing_ends_everybody_who_waits_and_drops_what_waits() -> None:
    async def test(queue: WorkQueue[str], _: Counts) -> None:
        waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.put_after("a", 1)
        queue.close()
        queue.put("b")
        queue.put_after("c", 1)
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, Closed) for result in results)
        with pytest.raises(Closed):
            await queue.get()

    with_queue(test)


def test_work_in_hand_may_be_finished_after_closing() -> None:
    async def test(queue: WorkQueue[str], _: Counts) -> None:
        queue.put("a")
        key = await queue.get()
        queue.put("a")
        queue.close()
        queue.done(key)
        with pytest.raises(Closed):
            await queue.get()

    with_queue(test)


def test_a_cancelled_worker_takes_no_key_with_it() -> None:
    async def test(queue: WorkQueue[str], _: Counts) -> None:
        waiting = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.put("a")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await taken(queue))[0] == "a"

    with_queue(test)


@given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_a_delay_is_within_its_bounds(failures: int, chance: float, jitter: float) -> None:
    backoff = Backoff(first=0.5, longest=300, jitter=jitter, chance=lambda: chance)
    assert 0 <= backoff.delay(failures) <= 300
    assert backoff.delay(failures) >= (1 - jitter) * min(0.5 * 2.0 ** min(failures - 1, 20), 300) - 1e-9


@given(st.lists(st.sampled_from(["put a", "put b", "get", "done", "later a", "later b"]), max_size=40))
def test_whatever_happens_nothing_put_is_lost(steps: list[str]) -> None:
    """Whatever was put, and not handed out since, is handed out in the end, once."""

    async def inside() -> None:
        queue: WorkQueue[str] = WorkQueue(STEADY)
        owed: set[str] = set()
        in_hand: list[str] = []
        for step in steps:
            word, _, key = step.partition(" ")
            if word == "put":
                queue.put(key)
                owed.add(key)
            elif word == "later":
                queue.put_after(key, 5)
                owed.add(key)
            elif word == "get" and len(queue):
                key = await queue.get()
                assert key in owed
                assert key not in in_hand
                owed.remove(key)
                in_hand.append(key)
            elif word == "done" and in_hand:
                queue.done(in_hand.pop(0))
        for key in in_hand:
            queue.done(key)
        got = [(await taken(queue))[0] for _ in owed]
        assert sorted(got) == sorted(owed)
        assert await nothing_more(queue)

    run(inside())


def test_the_loop_of_these_tests_knows_a_deadlock() -> None:
    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock):
        run(wait_for_nothing())
