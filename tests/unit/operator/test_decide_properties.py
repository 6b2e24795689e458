"""What holds for every decision, whatever is observed."""

import copy
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from lclstream.spec import StreamStatus, parse
from lclstream_operator import names, reading
from lclstream_operator.decide import decide
from lclstream_operator.model import Decision, Observed, Usage
from lclstream_operator.running import ORDER
from lclstream_operator.site import SiteConfig
from operator_world import BEGIN, World, dataset, said, stream_request, terminated

settings.register_profile("untimed", deadline=None, max_examples=60)
settings.load_profile("untimed")

TERMINAL = ("Completed", "Failed", "Canceled")
PHASES = [None, *ORDER, "Suspended", *TERMINAL]
STAMPS = (
    st.none()
    | st.sampled_from(["", "nonsense", "2026-01-01T00:00:00Z"])
    | st.integers(-100_000, 10_000).map(lambda seconds: reading.stamp(BEGIN + timedelta(seconds=seconds)))
)
JUNK = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.just([]) | st.just({})
BUFFER_PHASES = st.sampled_from(["Streaming", "Draining", "Completed", "Failed", "Canceled", "Odd"])
SAID = st.builds(
    said,
    BUFFER_PHASES,
    st.text(max_size=5),
    st.dictionaries(st.integers(0, 5), st.sampled_from(["open", "ended", "lost"]), max_size=4),
    events=st.integers(0, 10**6),
    batches=st.integers(0, 100),
) | st.dictionaries(st.sampled_from(["phase", "counters", "shards"]), JUNK)
SPECS = st.fixed_dictionaries(
    {
        "workers": st.fixed_dictionaries(
            {"shards": st.integers(0, 6)}, optional={"parallelism": st.integers(-1, 8)}
        ),
        "delivery": st.fixed_dictionaries({"buffers": st.integers(1, 3)}),
    },
    optional={
        "suspend": st.booleans(),
        "activeDeadlineSeconds": st.integers(1, 10_000),
        "ttlSecondsAfterFinished": st.integers(0, 10_000),
        "source": st.sampled_from([{"dataset": {"name": "lysozyme", "run": "44"}}, {}, None]),
    },
)
SITES = st.builds(
    SiteConfig,
    drainSeconds=st.integers(0, 100),
    provisioningSeconds=st.integers(1, 1000),
    limits=st.fixed_dictionaries({}, optional={"workersPerStream": st.integers(0, 4)}),
)


def template(issuer: str) -> dict:
    world = World(issuer=issuer).streaming()
    return dict(world.children)


CHILDREN = {issuer: template(issuer) for issuer in ("builtin", "cert-manager")}
JOBS = st.fixed_dictionaries(
    {},
    optional={
        "active": st.integers(0, 4) | JUNK,
        "ready": st.integers(0, 4) | JUNK,
        "completedIndexes": st.sampled_from(["", "0", "0-2", "1,3-5", "x", "9-1"]) | JUNK,
        "failedIndexes": st.sampled_from(["", "1", "0-5"]),
        "conditions": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["Complete", "Failed", "Suspended"]),
                    "status": st.sampled_from(["True", "False"]),
                }
            ),
            max_size=2,
        )
        | JUNK,
    },
)


@st.composite
def worlds(draw) -> Observed:
    issuer = draw(st.sampled_from(["builtin", "cert-manager"]))
    request = stream_request(**draw(SPECS))
    request["metadata"] |= {
        "generation": draw(st.integers(1, 3)),
        **draw(st.fixed_dictionaries({}, optional={"deletionTimestamp": STAMPS.filter(bool)})),
        **draw(st.fixed_dictionaries({}, optional={"finalizers": st.just([names.FINALIZER])})),
    }
    request["status"] = draw(statuses())
    keys = draw(st.sets(st.sampled_from(sorted(CHILDREN[issuer]))))
    children = [copy.deepcopy(CHILDREN[issuer][key]) for key in sorted(keys)]
    for child in children:
        if child["kind"] == "Job":
            child["status"] = draw(JOBS)
            child["spec"]["suspend"] = draw(st.booleans())
        elif child["kind"] == "StatefulSet":
            child["status"] = {"readyReplicas": draw(st.integers(0, 3)), "observedGeneration": 1}
        elif child["kind"] in ("Secret", "ConfigMap", "Certificate") and draw(st.booleans()):
            child[draw(st.sampled_from(["data", "status"]))] = draw(JUNK)
        if draw(st.integers(0, 5)) == 0:
            child["metadata"]["deletionTimestamp"] = reading.stamp(BEGIN)
    return Observed(
        request=request,
        dataset=draw(st.sampled_from([None, dataset(), {"metadata": {"name": "lysozyme"}}])),
        children=tuple(children),
        pods=tuple(draw(st.lists(pods(), max_size=3))),
        buffers=draw(st.dictionaries(st.integers(0, 3), SAID, max_size=3)),
        usage=Usage(draw(st.integers(0, 3)), draw(st.integers(0, 3)), 0),
        issuer=issuer,
        now=BEGIN + timedelta(seconds=draw(st.integers(0, 100_000))),
    )


@st.composite
def statuses(draw):
    status = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "startedAt": STAMPS,
                "finishedAt": STAMPS,
                "conditions": st.lists(
                    st.fixed_dictionaries(
                        {"type": st.sampled_from(["Accepted", "Failed", "Other"])},
                        optional={
                            "status": st.sampled_from(["True", "False"]),
                            "reason": st.just("R"),
                            "message": st.just("m"),
                            "lastTransitionTime": STAMPS,
                        },
                    ),
                    max_size=3,
                )
                | JUNK,
                "progress": st.fixed_dictionaries(
                    {"events": st.integers(0, 9)}, optional={"sampledAt": STAMPS}
                )
                | JUNK,
                "buffers": st.lists(
                    st.fixed_dictionaries({"index": st.integers(0, 3), "phase": BUFFER_PHASES}), max_size=3
                )
                | JUNK,
                "failedShards": JUNK,
            },
        )
    )
    if phase := draw(st.sampled_from(PHASES)):
        status["phase"] = phase
    return status


@st.composite
def pods(draw):
    component = draw(st.sampled_from(["buffer", "worker"]))
    labels = names.labels("first", "uid-1", component)
    labels["batch.kubernetes.io/job-completion-index"] = str(draw(st.integers(0, 3)))
    statuses = st.sampled_from(
        [
            terminated(2, "why\n"),
            {"state": {"waiting": {"reason": "ImagePullBackOff"}}},
            {"state": {"running": {"startedAt": reading.stamp(BEGIN + timedelta(hours=1))}}},
        ]
    )
    return {
        "metadata": {"name": f"first-{component}-{draw(st.integers(0, 3))}", "labels": labels},
        "status": {
            "phase": draw(st.sampled_from(["Pending", "Running", "Failed", "Succeeded"])),
            "containerStatuses": draw(st.lists(statuses, max_size=1) | JUNK),
        },
    }


def decided(observed: Observed, site: SiteConfig) -> Decision:
    return decide(copy.deepcopy(observed), site)


@settings(max_examples=150)
@given(worlds(), SITES)
def test_there_is_always_a_decision_and_always_the_same(observed, site):
    untouched = copy.deepcopy(observed)
    decision = decide(observed, site)
    assert observed == untouched, "what is observed is not changed"
    assert decision == decided(observed, site)


@settings(max_examples=150)
@given(worlds(), SITES)
def test_a_status_is_what_the_resource_definition_allows(observed, site):
    decision = decided(observed, site)
    if decision.status is not None:
        parse(StreamStatus, decision.status, where="status")
        types = [condition["type"] for condition in decision.status["conditions"]]
        assert len(types) == len(set(types))


@settings(max_examples=150)
@given(worlds(), SITES)
def test_producers_are_made_only_when_certificates_and_buffers_are_ready(observed, site):
    decision = decided(observed, site)
    there = {child["kind"] for child in observed.children}
    made = {manifest["kind"] for manifest in decision.apply} - there
    conditions = (decision.status or observed.request["status"]).get("conditions", [])
    ready = (
        {c["type"] for c in conditions if c.get("status") == "True"}
        if isinstance(conditions, list)
        else set()
    )
    if "Job" in made:
        assert {"CertificatesReady", "BufferReady"} <= ready
        assert "StatefulSet" in there
    if "StatefulSet" in made:
        assert "CertificatesReady" in ready


@settings(max_examples=150)
@given(worlds(), SITES)
def test_a_phase_does_not_go_back_by_itself(observed, site):
    decision = decided(observed, site)
    before = observed.request["status"].get("phase")
    after = (decision.status or observed.request["status"]).get("phase")
    if before in TERMINAL:
        assert after == before
    if before in ORDER and after in ORDER:
        assert ORDER.index(after) >= ORDER.index(before)


@settings(max_examples=150)
@given(worlds(), SITES)
def test_decisions_are_safe_to_carry_out(observed, site):
    decision = decided(observed, site)
    live = {(child["kind"], child["metadata"]["name"]): child for child in observed.children}
    pruned = {(ref.kind, ref.name) for ref in decision.prune}
    applied = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in decision.apply]
    assert len(applied) == len(set(applied))
    assert not pruned & set(applied)
    assert all(live[ref.kind, ref.name]["metadata"]["uid"] == ref.uid for ref in decision.prune)
    for manifest in decision.apply:
        metadata = manifest["metadata"]
        assert metadata["labels"][names.UID] == "uid-1"
        assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["uid-1"]
    assert set(decision.tell) <= set(observed.buffers)
    assert decision.requeue_after is None or decision.requeue_after > 0
    if observed.request["metadata"].get("deletionTimestamp"):
        assert not decision.apply
        assert not decision.issue
        assert decision.finalizer is not True


@given(worlds(), SITES)
def test_a_finalizer_goes_in_bounded_time_even_when_nothing_ever_answers(observed, site):
    """Looked at whenever it asks to be, with the rest of the world standing still."""
    request = copy.deepcopy(observed.request)
    request["metadata"] |= {
        "finalizers": [names.FINALIZER],
        "deletionTimestamp": reading.stamp(observed.now),
    }
    begin = now = observed.now
    while True:
        still = Observed(
            request=request,
            dataset=observed.dataset,
            children=observed.children,
            pods=observed.pods,
            buffers=observed.buffers,
            usage=observed.usage,
            issuer=observed.issuer,
            now=now,
        )
        decision = decide(still, site)
        if decision.finalizer is False:
            break
        assert decision.requeue_after
        now += timedelta(seconds=decision.requeue_after)
        assert now - begin <= timedelta(seconds=site.drain_seconds + 5)
        if decision.status is not None:
            request["status"] = decision.status


@given(worlds(), SITES, st.integers(1, 100_000))
def test_the_time_of_a_condition_moves_with_its_status_only(observed, site, seconds):
    first = decided(observed, site).status
    if first is None:
        return
    later = Observed(
        request={**observed.request, "status": first},
        dataset=observed.dataset,
        children=observed.children,
        pods=observed.pods,
        buffers=observed.buffers,
        usage=observed.usage,
        issuer=observed.issuer,
        now=observed.now + timedelta(seconds=seconds),
    )
    second = decide(later, site).status or first
    before = {condition["type"]: condition for condition in first["conditions"]}
    for condition in second["conditions"]:
        old = before.get(condition["type"])
        if old:
            moved = condition["lastTransitionTime"] != old["lastTransitionTime"]
            assert moved == (condition["status"] != old["status"])
