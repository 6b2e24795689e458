"""The role from its arguments to its JSON lines, with files for a sink."""

import json
import threading

import h5py
import numpy as np
import pytest

from lclstream.spec import SpecError
from lclstream.wire import decode
from lclstream_producer import main as role
from lclstream_producer.main import EXIT_CANCELED, make_sink, read_config, run, shard_from


def read_shard(folder, shard, prefix=""):
    """Headers and files of a shard, in order."""
    found = sorted(folder.glob(f"{prefix}r{shard}_*.h5"), key=lambda path: int(path.stem.rpartition("_")[2]))
    return [(decode(path.read_bytes())[0], path) for path in found]


def test_the_golden_case_of_the_field(make_config, tmp_path, capsys):
    config = make_config(
        source={"synthetic": {"events": 152}},
        shards=2,
        batchEvents=10,
        fields={"x": {"random": {"shape": [20, 2]}, "dtype": "float32"}, "name": {"sourceIdentifier": {}}},
    )
    rows = []
    for shard in (0, 1):
        assert run(config, shard, threading.Event()) == 0
        said = json.loads(capsys.readouterr().out)
        assert said == {"event": "finished", "shard": shard, "events": 76, "batches": 8, "skipped": 0}
        files = read_shard(tmp_path / "out", shard)
        assert [header.events for header, _ in files] == [10] * 7 + [6]
        assert [header.sequence for header, _ in files] == list(range(8))
        assert [(h.start, h.stop) for h, _ in files][-1] == (76 * shard + 70, 76 * shard + 76)
        for header, path in files:
            with h5py.File(path) as file:
                assert (file["x"].dtype, file["x"].shape) == ("float32", (header.events, 20, 2))
                assert file["name"].asstr()[:].tolist() == ["made-up"] * header.events
                rows += list(file["x"][:])
    assert len(np.unique(np.array(rows), axis=0)) == 152


def test_events_left_out_are_counted(make_config, capsys):
    config = make_config(steps=[{"filter": {"field": "photon_energy", "minimum": 9500}}])
    assert run(config, 0, threading.Event()) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["events"] + said["skipped"] == 20
    assert 0 < said["skipped"] < 20


def test_a_shard_without_events_finishes(make_config, capsys):
    assert run(make_config(source={"synthetic": {"events": 1}}, shards=2), 0, threading.Event()) == 0
    assert json.loads(capsys.readouterr().out)["events"] == 0


def test_a_second_run_writes_the_same_bytes(make_config, tmp_path):
    config = make_config(sinkFiles={"directory": str(tmp_path / "out"), "prefix": "p"})
    contents = []
    for _ in range(2):
        run(config, 0, threading.Event())
        contents.append({path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()})
    assert contents[0] == contents[1]
    assert sorted(contents[0]) == [f"p_r0_{n}.h5" for n in range(5)]


def test_told_to_stop(make_config, capsys):
    stop = threading.Event()
    stop.set()
    assert run(make_config(), 0, stop) == EXIT_CANCELED
    assert capsys.readouterr().out == ""


def test_the_shard_comes_from_the_environment():
    assert shard_from({"JOB_COMPLETION_INDEX": "3"}) == 3
    with pytest.raises(SpecError, match=r"--shard: not given, and JOB_COMPLETION_INDEX is ''"):
        shard_from({})


def test_configurations_that_can_not_be_read(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(SpecError, match=r"--config: .* cannot be read as JSON"):
        read_config(path)
    path.write_text("{}")
    with pytest.raises(SpecError, match=r"config.stream: missing, expected a value"):
        read_config(path)


def test_exactly_one_sink(make_config):
    with pytest.raises(SpecError, match=r"exactly one of sinkBuffer, sinkFiles"):
        make_sink(make_config(sinkFiles=None), 0)


def test_main_checks(make_config, tmp_path, capsys, monkeypatch):
    config = make_config()
    path = tmp_path / "producer.json"
    path.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    monkeypatch.setattr(role.logs, "configure", lambda **_: None)
    monkeypatch.setattr(role, "run_role", lambda work: work(threading.Event()))
    assert role.main(["check", "--config", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == 20
