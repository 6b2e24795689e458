"""A stream on one machine, end to end: real processes, real TLS, real files."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import lclstream
from support import LCLSTREAM, command_line

SYNTHETIC = {"synthetic": {"events": 60, "shape": [32, 48], "seed": 3}}


def collect(connection: Path, **options):
    """Every batch of a stream, by (shard, sequence); fails on one that comes twice."""
    batches = {}
    with lclstream.open(connection, **options) as stream:
        for batch in stream:
            key = (batch.shard, batch.sequence)
            assert key not in batches, f"{key} came twice"
            batches[key] = dict(batch)
    return batches


def in_order(batches, field):
    """The values of a field over all batches, in the order of the run."""
    return np.concatenate([batches[key][field] for key in sorted(batches)])


def test_what_arrives_is_what_was_written(run_stream, run_file):
    stream = run_stream(
        source={"hdf5": {"files": [str(run_file)]}},
        fields={
            "detector_data": {"path": "/entry_1/data_1/data"},
            "energy": {"path": "/entry_1/instrument_1/source_1/energy"},
            "timestamp": {"path": "/LCLS/timestamp"},
        },
        steps=[{"batch": {"events": 7}}],
        workers={"shards": 3},
    )
    batches = collect(stream.connection)
    end = stream.end()
    with h5py.File(run_file) as file:
        assert np.array_equal(in_order(batches, "detector_data"), file["entry_1/data_1/data"][:])
        assert np.array_equal(in_order(batches, "energy"), file["entry_1/instrument_1/source_1/energy"][:])
        timestamps = in_order(batches, "timestamp")
        assert timestamps.dtype == np.uint64
        assert np.array_equal(timestamps, file["LCLS/timestamp"][:])
    assert stream.code == 0
    assert (end["outcome"], end["events"], end["batches"]) == ("completed", 60, 9)
    assert (end["delivered"], end["redelivered"], end["duplicates"], end["dropped"]) == (9, 0, 0, 0)


def test_golden_case_of_the_original_producer(run_stream):
    """76 float32 events of 20 x 2 per producer, batches of 10: 7 full ones and one of 6 per producer."""
    stream = run_stream(
        source={"synthetic": {"events": 152}},
        fields={
            "random": {"random": {"shape": [20, 2]}, "dtype": "float32"},
            "source": {"sourceIdentifier": {}},
        },
        steps=[{"batch": {"events": 10}}],
        workers={"shards": 2},
    )
    batches = collect(stream.connection)
    stream.end()
    sizes = {shard: [len(batches[shard, n]["random"]) for n in range(8)] for shard in (0, 1)}
    assert sizes == {0: [10] * 7 + [6], 1: [10] * 7 + [6]}
    assert batches[0, 0]["random"].shape == (10, 20, 2)
    assert batches[0, 0]["random"].dtype == np.float32
    assert set(in_order(batches, "source")) == {"synthetic:first-light"}


def test_a_producer_killed_midway_loses_and_doubles_nothing(run_stream):
    whole = run_stream(
        source={"synthetic": {"events": 400, "shape": [64, 64]}},
        steps=[{"batch": {"events": 4}}],
        # The store holds a few batches only, so both producers stand in the middle of their shards.
        delivery={"memory": "256Ki"},
        workers={"shards": 2},
    )
    whole.until(lambda words: words.get("batches", 0) >= 4)
    (victim,) = whole.pids("producer", "--shard", "0")
    os.kill(victim, signal.SIGKILL)
    batches = collect(whole.connection)
    end = whole.end()
    assert end["outcome"] == "completed"
    assert sorted(batches) == [(shard, n) for shard in (0, 1) for n in range(50)]
    timestamps = in_order(batches, "timestamp")
    assert len(timestamps) == 400
    assert len(np.unique(timestamps)) == 400


def test_one_of_two_consumers_killed_midway_loses_nothing(run_stream):
    stream = run_stream(
        source={"synthetic": {"events": 400, "shape": [32, 32]}}, steps=[{"batch": {"events": 4}}]
    )
    script = (
        "import lclstream, sys; s = lclstream.open(sys.argv[1]); first = next(s).sequence; next(s);"
        "print(first, flush=True); sys.stdin.read()"
    )
    victim = subprocess.Popen(
        [sys.executable, "-c", script, str(stream.connection)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with victim, lclstream.open(stream.connection) as other:
        assert victim.stdout is not None
        finished = int(victim.stdout.readline())
        seen = [next(other).sequence]
        victim.kill()
        seen += [batch.sequence for batch in other]
    end = stream.end()
    assert end["outcome"] == "completed"
    # Asking for its second batch, the victim acknowledged its first, if that still left the process.
    assert set(range(100)) - set(seen) <= {finished}
    assert len(seen) == len(set(seen))
    assert end["delivered"] == 100
    assert end["redelivered"] >= 1


def test_a_slow_consumer_keeps_memory_bounded_and_loses_nothing(run_stream):
    stream = run_stream(
        source={"synthetic": {"events": 256, "shape": [512, 512]}},
        steps=[{"batch": {"events": 4}}],
        delivery={"memory": "8Mi"},
        workers={"shards": 2},
    )
    peaks = []
    (pid,) = stream.pids("buffer", "--config") if stream.connection else ()
    with lclstream.open(stream.connection, prefetch=1) as consumer:
        count = 0
        for batch in consumer:
            count += batch.events
            status = Path(f"/proc/{pid}/status").read_text()
            peaks.append(int(status.split("VmHWM:")[1].split()[0]) * 1024)
    end = stream.end()
    assert count == 256
    assert (end["outcome"], end["dropped"]) == ("completed", 0)
    assert end["peakBytes"] <= 8 * 2**20
    # 128 MiB went through; what the buffer took beyond its start is far less than that.
    assert max(peaks) - peaks[0] < 64 * 2**20


def test_spilling_to_disk_keeps_every_batch(run_stream):
    stream = run_stream(
        source=SYNTHETIC,
        steps=[{"batch": {"events": 2}}],
        delivery={"memory": "16Ki", "spill": "10Mi"},
    )
    stream.until(lambda words: words.get("batches", 0) == 30)
    batches = collect(stream.connection)
    end = stream.end()
    assert end["outcome"] == "completed"
    assert sorted(batches) == [(0, n) for n in range(30)]


def test_groups_get_everything_each(run_stream):
    stream = run_stream(source=SYNTHETIC, delivery={"retain": True}, workers={"shards": 2})
    first = collect(stream.connection, group="training")
    second = collect(stream.connection, group="live")
    assert first.keys() == second.keys()
    assert len(in_order(second, "timestamp")) == 60
    stream.process.send_signal(signal.SIGINT)
    stream.end()


def test_several_buffers_add_up(run_stream):
    stream = run_stream(
        source=SYNTHETIC,
        steps=[{"batch": {"events": 5}}],
        delivery={"buffers": 2},
        workers={"shards": 3},
    )
    batches = collect(stream.connection)
    end = stream.end()
    assert len(np.unique(in_order(batches, "timestamp"))) == 60
    assert (end["outcome"], end["events"], end["delivered"]) == ("completed", 60, 12)


def test_fewer_producers_at_once_than_shards(run_stream):
    stream = run_stream(source=SYNTHETIC, workers={"shards": 6, "parallelism": 2})
    batches = collect(stream.connection)
    assert stream.end()["outcome"] == "completed"
    assert len(in_order(batches, "timestamp")) == 60


def test_our_client_takes_a_pushed_stream(run_stream):
    stream = run_stream(source=SYNTHETIC, delivery={"mode": "push"}, workers={"shards": 2})
    batches = collect(stream.connection)
    assert stream.end()["outcome"] == "completed"
    assert len(in_order(batches, "timestamp")) == 60


PLAIN_PULL = """
import io, json, sys
from pathlib import Path
import h5py, pynng

file = json.loads(Path(sys.argv[1]).read_text())
tls = pynng.TLSConfig(
    pynng.TLSConfig.MODE_CLIENT,
    server_name="buffer",
    ca_string=Path(file["ca"]).read_text(),
    own_cert_string=Path(file["certificate"]).read_text(),
    own_key_string=Path(file["key"]).read_text(),
    auth_mode=pynng.TLSConfig.AUTH_MODE_REQUIRED,
)
events = 0
with pynng.Pull0(recv_timeout=60000) as pull:
    pull.tls_config = tls
    pull.dial(file["buffers"][0]["push"], block=True)
    while True:
        message = pull.recv()
        if message[10] == 2:  # the envelope says: end
            break
        with h5py.File(io.BytesIO(message)) as batch:  # the envelope is an HDF5 user block
            events += len(batch["detector_data"])
print(events)
"""


def test_a_plain_nng_client_without_our_code_takes_a_pushed_stream(run_stream):
    stream = run_stream(source=SYNTHETIC, delivery={"mode": "push"})
    command = [sys.executable, "-c", PLAIN_PULL, str(stream.connection)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "60\n"
    assert stream.end()["outcome"] == "completed"


def test_a_producer_that_dies_for_good_fails_the_stream_and_says_what_arrived(run_stream):
    stream = run_stream(
        source={"synthetic": {"events": 400, "shape": [64, 64]}},
        steps=[{"batch": {"events": 4}}],
        delivery={"memory": "256Ki"},
        workers={"shards": 2, "retriesPerShard": 0},
    )
    stream.until(lambda words: words.get("batches", 0) >= 4)
    (victim,) = stream.pids("producer", "--shard", "1")
    os.kill(victim, signal.SIGKILL)
    seen = 0

    def consume():
        nonlocal seen
        for batch in lclstream.open(stream.connection):
            seen += batch.events

    with pytest.raises(lclstream.StreamFailed, match="shard 1"):
        consume()
    end = stream.end()
    assert stream.code == 1
    assert end["outcome"] == "failed"
    assert "worker-1 was killed by signal 9" in end["reason"]
    assert any('"event": "started"' in line for line in end["lastLines"])
    assert end["events"] == seen
    assert 200 <= seen < 400


@pytest.mark.parametrize("signals", [1, 2])
def test_ctrl_c_leaves_nothing_behind(run_stream, signals):
    stream = run_stream(
        source={"synthetic": {"events": 10**6, "shape": [64, 64]}}, delivery={"memory": "1Mi"}
    )
    stream.until(lambda words: words.get("batches", 0) > 0)
    started = stream.pids("-m", "lclstream")
    assert len(started) == 2
    for _ in range(signals):
        stream.process.send_signal(signal.SIGINT)
    end = stream.end()
    assert end["outcome"] in ({1: ["canceled"], 2: ["canceled", "failed"]}[signals])
    assert stream.code == {"canceled": 3, "failed": 1}[end["outcome"]]
    assert list(stream.temporary.iterdir()) == []
    assert not [pid for pid in started if "lclstream" in command_line(pid)]


def test_components_end_with_a_runtime_that_is_killed(run_stream):
    stream = run_stream(
        source={"synthetic": {"events": 10**6, "shape": [64, 64]}}, delivery={"memory": "1Mi"}
    )
    stream.until(lambda words: words.get("batches", 0) > 0)
    handles = [os.pidfd_open(pid) for pid in stream.pids("-m", "lclstream")]
    stream.process.kill()
    stream.process.wait()
    for handle in handles:
        assert select.select([handle], [], [], 60)[0], "a component outlived the runtime"
        os.close(handle)


def test_keep_leaves_logs_but_no_keys(run_stream):
    stream = run_stream("--keep", source=SYNTHETIC)
    collect(stream.connection)
    folder = Path(stream.end()["folder"])
    assert (folder / "logs" / "buffer-0.log").exists()
    assert (folder / "producer.json").exists()
    assert not list(folder.rglob("*.key"))


def test_a_deadline_fails_the_stream(run_stream):
    stream = run_stream(
        source={"synthetic": {"events": 10**6, "shape": [64, 64]}},
        delivery={"memory": "1Mi"},
        activeDeadlineSeconds=1,
    )
    end = stream.end()
    assert stream.code == 1
    assert end["outcome"] == "failed"
    assert "activeDeadlineSeconds" in end["reason"]


def test_pull_writes_files_and_pipes_to_commands(run_stream, tmp_path):
    stream = run_stream(source=SYNTHETIC, delivery={"retain": True}, steps=[{"batch": {"events": 20}}])
    folder = tmp_path / "batches"
    to_files = [*LCLSTREAM, "pull", str(stream.connection), "--output", str(folder), "--json"]
    done = subprocess.run(to_files, capture_output=True, text=True, check=True)
    assert '"events": 60' in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == [f"r0000_{n:06d}.h5" for n in range(3)]
    with h5py.File(folder / "r0000_000000.h5") as file:
        assert file["detector_data"].shape == (20, 32, 48)
    command = f"cat > {tmp_path}/$$.h5"
    piped = [*LCLSTREAM, "pull", str(stream.connection), "--group", "b", "--exec", command]
    subprocess.run(piped, capture_output=True, check=True)
    assert len(list(tmp_path.glob("*.h5"))) == 3
    stream.process.send_signal(signal.SIGINT)
    stream.end()
