"""What components say to each other arrives as it was said, and anything else is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstream.protocol import (
    VERSION,
    Acknowledge,
    Attach,
    Attached,
    Detach,
    Fetch,
    Hello,
    LoseShard,
    ProtocolError,
    Refusal,
    ShardEnd,
    Stop,
    Stored,
    StreamEnd,
    Welcome,
    Words,
    read_answer,
    read_ingest,
    read_lease,
)

INGEST: list[Words] = [
    Hello(stream="default/x", shard=3, shards=4),
    LoseShard(shard=0, reason="killed by signal 9"),
    Stop(outcome="canceled", reason="by its owner"),
]
LEASE: list[Words] = [
    Attach(stream="default/x", group="default", consumer="host:12"),
    Fetch(),
    Fetch(acknowledge=[(0, 1), (3, 2**40)]),
    Acknowledge(acknowledge=[(0, 0)]),
    Detach(acknowledge=[(1, 2)]),
]
ANSWERS: list[Words] = [
    Welcome(sequence=0, position=None, events=0, ended=False, max_message=1 << 20),
    Welcome(sequence=7, position=112, events=70, ended=True, max_message=1 << 30),
    Stored(),
    Attached(shards=4, lease_seconds=300),
    Refusal(reason="role", message="a worker may not consume: ü"),
]


@pytest.mark.parametrize("words", INGEST, ids=repr)
def test_a_request_to_ingest_arrives_as_it_was_said(words: Words) -> None:
    assert read_ingest(words.encode()) == words


@pytest.mark.parametrize("words", LEASE, ids=repr)
def test_a_request_to_lease_arrives_as_it_was_said(words: Words) -> None:
    assert read_lease(words.encode()) == words


@pytest.mark.parametrize("words", ANSWERS, ids=repr)
def test_an_answer_arrives_as_it_was_said(words: Words) -> None:
    assert read_answer(words.encode()) == words
    assert read_answer(memoryview(words.encode())) == words


@pytest.mark.parametrize(
    "end", [ShardEnd(events=5, batches=2, skipped=1), StreamEnd(outcome="failed", reason="shard 3 was lost")]
)
def test_an_end_survives_its_message(end: Words) -> None:
    assert type(end).model_validate_json(end.encode()) == end


@pytest.mark.parametrize("words", [*LEASE, *ANSWERS], ids=repr)
def test_ingest_takes_its_own_requests_only(words: Words) -> None:
    with pytest.raises(ProtocolError):
        read_ingest(words.encode())


@pytest.mark.parametrize("words", [*INGEST, *ANSWERS], ids=repr)
def test_lease_takes_its_own_requests_only(words: Words) -> None:
    with pytest.raises(ProtocolError):
        read_lease(words.encode())


def test_what_a_newer_peer_adds_is_ignored() -> None:
    said = json.loads(Fetch().encode()) | {"patience": 3}
    assert read_lease(json.dumps(said).encode()) == Fetch()


def test_an_introduction_carries_the_version() -> None:
    assert json.loads(INGEST[0].encode())["version"] == VERSION
    assert json.loads(LEASE[0].encode())["version"] == VERSION


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "request: "),
        (b"\xff\xfe", "request: "),
        (b"[]", "request: "),
        (b"{}", "request: "),
        (b'{"op": "dance"}', "request: "),
        (b'{"op": "lose", "shard": -1, "reason": "r"}', "lose.shard: "),
        (b'{"op": "hello", "stream": "a/b", "shard": 0}', "hello.shards: "),
        (b'{"op": "stop", "outcome": "completed", "reason": ""}', "stop.outcome: "),
    ],
)
def test_a_refused_request_says_where(data: bytes, message: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_ingest(data)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("group", ["", "a/b", "-a", "x" * 64, "a\n"])
def test_a_group_has_a_plain_name(group: str) -> None:
    said = {"op": "attach", "stream": "a/b", "group": group, "consumer": "c"}
    with pytest.raises(ProtocolError, match="group"):
        read_lease(json.dumps(said).encode())


@pytest.mark.parametrize("read", [read_ingest, read_lease, read_answer])
@given(data=st.binary(max_size=200))
def test_random_bytes_are_refused(read: object, data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data)  # type: ignore[operator]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.text() | st.sampled_from(["op", "ok"]), below),
    max_leaves=10,
)
OPS = st.sampled_from(["hello", "lose", "stop", "attach", "fetch", "acknowledge", "detach"])


@given(JSON, OPS, st.sampled_from(["shard", "acknowledge", "stream", "reason", "group"]))
def test_a_request_with_odd_values_is_understood_or_refused(value: object, op: str, key: str) -> None:
    data = json.dumps({"op": op, key: value}).encode()
    for read in (read_ingest, read_lease):
        try:
            assert read(data).op == op
        except ProtocolError:
            continue
