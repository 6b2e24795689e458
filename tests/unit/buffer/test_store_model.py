"""The store against a plain model of it, over every interleaving that hypothesis thinks of."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from lclstream_buffer.spill import Spill
from lclstream_buffer.store import Store

LEASE = 10.0
MEMORY = 100
SPILL = 160
SIZES = st.integers(1, 40)
GROUPS = st.sampled_from(["a", "b"])
MEMBERS = st.integers(0, 2)


class Member(dict):
    """What a connection has leased: batch -> when that ends."""


class Expected:
    """What a group should have seen, kept as plain sets."""

    def __init__(self, owed):
        self.owed = list(owed)
        self.acknowledged, self.dropped, self.seen = set(), set(), set()
        self.members = {}

    @property
    def leased(self):
        return {batch for member in self.members.values() for batch in member}


class StoreMachine(RuleBasedStateMachine):
    @initialize(on_full=st.sampled_from(["block", "dropOldest"]), retain=st.booleans(), disk=st.booleans())
    def open(self, on_full, retain, disk):
        self.now = 0.0
        self.folder = tempfile.TemporaryDirectory()
        spill = Spill(Path(self.folder.name) / "spill", SPILL) if disk else None
        self.drop, self.retain = on_full == "dropOldest", retain
        self.bound = MEMORY + (SPILL if disk else 0)
        self.store = Store(MEMORY, LEASE, spill=spill, on_full=on_full, retain=retain, clock=lambda: self.now)
        self.held = {}
        self.next = [0, 0]
        self.groups = {}
        self.produced = 0

    def teardown(self):
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    def room(self, size):
        state = self.store.state()
        if state.memory + size <= state.memory_bound or state.spill + size <= state.spill_bound:
            return True
        leased = {batch for group in self.groups.values() for batch in group.leased}
        # All of what is not leased can go; what of it lies on disk frees no more than whole segments.
        return self.drop and not leased

    @rule(size=SIZES, shard=st.integers(0, 1))
    def put(self, size, shard):
        if not self.room(size):
            return
        batch = (shard, self.next[shard])
        self.next[shard] += 1
        message = bytes([(shard * 100 + batch[1]) % 256]) * size
        before = self.store.state().dropped
        self.store.put(batch, message)
        self.produced += 1
        self.held[batch] = message
        for group in self.groups.values():
            group.owed.append(batch)
        if self.drop:
            self.note_dropped()
        else:
            assert self.store.state().dropped == before

    def note_dropped(self):
        """The model doesn't know the tiers, so it asks which are gone; they must be the oldest free ones."""
        gone = [batch for batch in self.held if batch not in self.store._ordinals]
        for batch in gone:
            del self.held[batch]
            for group in self.groups.values():
                assert batch not in group.leased, "a leased batch was dropped"
                if batch in group.owed and batch not in group.acknowledged:
                    group.dropped.add(batch)
        still = [batch for batch in self.held if not any(batch in g.leased for g in self.groups.values())]
        order = {batch: index for index, batch in enumerate([*gone, *still])}
        assert all(order[one] < order[other] for one in gone for other in still)

    @rule(group=GROUPS, member=MEMBERS)
    def attach(self, group, member):
        self.store.attach(group, member)
        self.groups.setdefault(group, Expected(self.held)).members.setdefault(member, Member())

    @precondition(lambda self: any(group.members for group in self.groups.values()))
    @rule(data=st.data())
    def lease(self, data):
        name, group, member = self.pick(data)
        self.expire_model()
        free = [
            batch
            for batch in group.owed
            if batch not in group.acknowledged | group.dropped | group.leased and batch in self.held
        ]
        delivery = self.store.lease(name, member, wait=False)
        if not free:
            assert delivery is None
            return
        returned = [batch for batch in free if batch in group.seen]
        assert delivery.batch == (returned or free)[0]
        assert delivery.batch not in group.acknowledged, "redelivered after it was acknowledged"
        assert bytes(delivery.read()) == self.held[delivery.batch]
        group.seen.add(delivery.batch)
        group.members[member][delivery.batch] = self.now + LEASE

    @precondition(lambda self: any(group.seen for group in self.groups.values()))
    @rule(data=st.data())
    def acknowledge(self, data):
        name = data.draw(st.sampled_from([name for name, group in self.groups.items() if group.seen]))
        group = self.groups[name]
        batch = data.draw(st.sampled_from(sorted(group.seen)))
        counts = batch not in group.acknowledged | group.dropped
        assert self.store.acknowledge(name, [batch]) == counts
        if not counts:
            return
        group.acknowledged.add(batch)
        for member in group.members.values():
            member.pop(batch, None)
        if not self.retain and all(batch in other.acknowledged for other in self.groups.values()):
            del self.held[batch]

    @rule(group=GROUPS, batch=st.tuples(st.integers(0, 1), st.integers(0, 50)))
    def acknowledge_what_was_never_delivered(self, group, batch):
        if group in self.groups and batch not in self.groups[group].seen:
            assert self.store.acknowledge(group, [batch]) == 0

    @precondition(lambda self: any(group.members for group in self.groups.values()))
    @rule(data=st.data())
    def disconnect(self, data):
        name, group, member = self.pick(data)
        self.store.detach(name, member)
        del group.members[member]

    @rule(seconds=st.sampled_from([1.0, 4.0, LEASE, 25.0]))
    def pass_time(self, seconds):
        self.now += seconds
        self.store.expire()
        self.expire_model()

    def pick(self, data):
        name = data.draw(st.sampled_from([name for name, group in self.groups.items() if group.members]))
        group = self.groups[name]
        return name, group, data.draw(st.sampled_from(sorted(group.members)))

    def expire_model(self):
        for group in self.groups.values():
            for member in group.members.values():
                for batch in [batch for batch, end in member.items() if end <= self.now]:
                    del member[batch]

    @invariant()
    def bytes_are_bounded(self):
        if hasattr(self, "store"):
            state = self.store.state()
            assert state.memory <= state.memory_peak <= state.memory_bound
            assert state.spill <= state.spill_peak <= state.spill_bound
            assert state.peak <= self.bound
            assert state.memory + state.spill >= sum(len(message) for message in self.held.values())

    @invariant()
    def books_close(self):
        if not hasattr(self, "store"):
            return
        state = self.store.state()
        assert state.produced == self.produced == state.delivered + state.buffered + state.dropped
        assert state.held == len(self.held)
        for name, group in self.groups.items():
            said = state.groups[name]
            assert said.produced == said.acknowledged + said.leased + said.waiting + said.dropped
            assert said.produced == len(group.owed)
            assert said.acknowledged == len(group.acknowledged)
            assert said.leased == len(group.leased)
            assert said.dropped == len(group.dropped)

    @precondition(lambda self: self.groups)
    @rule()
    def deliver_everything(self):
        """From any state on, each group gets each batch that is not dropped."""
        for name, group in self.groups.items():
            self.store.attach(name, 9)
            while delivery := self.store.lease(name, 9, wait=False):
                group.seen.add(delivery.batch)
                assert self.store.acknowledge(name, [delivery.batch]) == 1
                group.acknowledged.add(delivery.batch)
            self.store.detach(name, 9)
            assert set(group.owed) == group.acknowledged | group.dropped | group.leased
        if not self.retain:
            for batch in list(self.held):
                if all(batch in group.acknowledged for group in self.groups.values()):
                    del self.held[batch]


StoreMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestStore = StoreMachine.TestCase
