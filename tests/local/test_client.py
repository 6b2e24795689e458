"""The consumer's side: what it does when the network does what networks do."""

import json

import pytest

import lclstream
from cable import Cable
from lclstream.transport import Unreachable


@pytest.fixture
def through_a_cable(tmp_path):
    """A connection file that leads through a cable, and the cable."""
    cables = []

    def lay(connection):
        words = json.loads(connection.read_text())
        cable = Cable(words["buffers"][0]["lease"])
        cables.append(cable)
        words["buffers"][0]["lease"] = cable.url
        path = tmp_path / "through-a-cable.json"
        path.write_text(json.dumps(words))
        return path, cable

    yield lay
    for cable in cables:
        cable.close()


def test_a_lost_connection_is_made_again_and_loses_nothing(run_stream, through_a_cable):
    stream = run_stream(
        source={"synthetic": {"events": 120, "shape": [32, 48]}}, steps=[{"batch": {"events": 2}}]
    )
    path, cable = through_a_cable(stream.connection)
    seen = []
    with lclstream.open(path) as consumer:
        for batch in consumer:
            seen.append(batch.sequence)
            if batch.sequence in (5, 25) and seen.count(batch.sequence) == 1:
                cable.cut()
    end = stream.end()
    assert set(seen) == set(range(60))
    assert (end["outcome"], end["delivered"]) == ("completed", 60)


def test_a_connection_lost_for_good_is_an_error(run_stream, through_a_cable):
    stream = run_stream(
        source={"synthetic": {"events": 120, "shape": [32, 48]}}, steps=[{"batch": {"events": 2}}]
    )
    path, cable = through_a_cable(stream.connection)

    def consume():
        for batch in lclstream.open(path, patience=1):
            if batch.sequence == 5:
                cable.close()

    with pytest.raises(Unreachable, match="connection lost"):
        consume()


def test_leaving_early_gives_back_what_was_not_finished(run_stream):
    stream = run_stream(
        source={"synthetic": {"events": 60, "shape": [32, 48]}}, steps=[{"batch": {"events": 2}}]
    )
    with lclstream.open(stream.connection) as consumer:
        first = next(consumer).sequence
        second = next(consumer).sequence
    rest = [batch.sequence for batch in lclstream.open(stream.connection)]
    assert sorted(rest) == sorted(set(range(30)) - {first})
    assert second in rest
    assert stream.end()["outcome"] == "completed"
