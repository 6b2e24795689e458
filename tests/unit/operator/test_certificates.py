"""When certificates can be used, and when the built-in issuer makes new ones."""

from datetime import timedelta

import pytest

from lclstream.pki import Authority
from lclstream_operator import names
from lclstream_operator.issuer import credentials_in
from operator_world import BEGIN, World, secret_data, stream_request

LEAVES = ["first-buffer", "first-worker", "first-consumer", "first-operator"]


def issued(decision) -> list[str]:
    return [issue.secret["metadata"]["name"] for issue in decision.issue]


@pytest.fixture
def world() -> World:
    world = World().streaming()
    world.settle()
    return world


def put(world: World, name: str, credentials) -> None:
    world.children["Secret", name]["data"] = secret_data(credentials)


def authority_of(world: World) -> Authority:
    return Authority.load("lab", "first", credentials_in(world.children["Secret", "first-ca"]))


def test_the_ca_is_made_before_what_it_signs():
    world = World()
    assert issued(world.step()) == ["first-ca"]
    assert issued(world.step()) == LEAVES
    assert issued(world.step()) == []


def test_a_certificate_is_renewed_after_two_thirds_of_its_life_and_in_time():
    world = World(stream_request(suspend=False)).streaming()
    world.settle()
    world.wait(15.9 * 3600)
    assert issued(world.step()) == []
    world.wait(0.2 * 3600)
    decision = world.step()
    assert sorted(issued(decision)) == sorted(LEAVES)
    assert world.condition("CertificatesReady")["status"] == "True", "the old ones are still good"
    assert issued(world.step()) == LEAVES, "paper time went on, the clock of who issues did not"


def test_it_asks_to_be_looked_at_when_the_next_is_due():
    world = World()
    world.settle()
    decision = world.step()
    assert decision.requeue_after <= world.site.provisioning_seconds + 1
    world.buffers_start()
    world.settle()
    assert world.step().requeue_after <= world.site.poll_seconds + 1


@pytest.mark.parametrize("name", LEAVES)
def test_a_secret_that_is_gone_is_made_again_and_what_runs_is_let_be(world, name):
    del world.children["Secret", name]
    decision = world.step()
    assert issued(decision) == [name]
    assert world.phase == "Streaming"
    assert "Job" in {manifest["kind"] for manifest in decision.apply}
    assert world.condition("CertificatesReady")["status"] == "False"
    world.step()
    assert world.condition("CertificatesReady")["status"] == "True"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda world: put(world, "first-worker", Authority("lab", "first").issue("worker")),
        lambda world: put(world, "first-worker", authority_of(world).issue("consumer")),
        lambda world: put(
            world, "first-worker", authority_of(world).issue("worker", lifetime=timedelta(seconds=-1))
        ),
        lambda world: world.children["Secret", "first-worker"]["data"].pop("tls.key"),
        lambda world: world.children["Secret", "first-worker"]["data"].update({"tls.crt": "bm8="}),
        lambda world: world.children["Secret", "first-worker"].pop("data"),
    ],
    ids=["other-ca", "other-role", "expired", "no-key", "not-pem", "no-data"],
)
def test_what_is_not_what_we_would_issue_is_issued_anew(world, spoil):
    spoil(world)
    assert issued(world.step()) == ["first-worker"]


def test_a_buffer_needs_all_its_names(world):
    put(world, "first-buffer", authority_of(world).issue("buffer", dns_names=["buffer"]))
    assert issued(world.step()) == ["first-buffer"]


def test_a_new_ca_has_all_it_signs_made_anew(world):
    del world.children["Secret", "first-ca"]
    assert issued(world.step()) == ["first-ca"]
    assert issued(world.step()) == LEAVES
    assert issued(world.step()) == []


def test_cert_manager_is_waited_for_and_its_words_are_passed_on():
    world = World(issuer="cert-manager")
    world.step()
    certificate = world.children["Certificate", "first-buffer"]
    certificate["status"] = {
        "conditions": [{"type": "Ready", "status": "False", "message": "Secret does not exist"}]
    }
    world.step()
    message = world.condition("CertificatesReady")["message"]
    assert "first-buffer (Secret does not exist)" in message
    assert "and 2 more" in message
    assert "first-ca (no word from cert-manager)" in message
    world.cert_manager_issues()
    world.children["Certificate", "first-buffer"]["metadata"]["generation"] = 2
    world.step()
    assert "first-buffer (changed just now)" in world.condition("CertificatesReady")["message"]
    del world.children["Secret", "first-operator"]
    world.step()
    assert "first-operator (its Secret is missing)" in world.condition("CertificatesReady")["message"]
    assert not {"StatefulSet", "Job"} & world.kinds()


def test_secrets_are_labelled_and_owned_before_they_are_filled():
    world = World()
    (issue,) = world.step().issue
    metadata = issue.secret["metadata"]
    assert metadata["labels"][names.UID] == "uid-1"
    assert metadata["ownerReferences"][0]["uid"] == "uid-1"
    assert "data" not in issue.secret
    assert issue.lifetime == timedelta(days=365)
    assert world.now == BEGIN
