"""`manifests/operator` grants what the operator needs, and nothing else."""

from pathlib import Path
from typing import Any

import yaml

from lclstream_operator.main import LEASE_NAME, _parser
from lclstream_operator.names import COMPONENT, OPERATOR_COMPONENT, OPERATOR_NAME
from lclstream_operator.permissions import Permission, needed, needed_to_lead
from lclstream_operator.site import SiteConfig

FOLDER = Path(__file__).parents[3] / "manifests" / "operator"

Grants = set[tuple[str, str, str]]


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()))


def one(name: str, kind: str) -> dict[str, Any]:
    (found,) = (manifest for manifest in manifests(name) if manifest["kind"] == kind)
    return found


def granted(role: dict[str, Any]) -> Grants:
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def asked(permissions: tuple[Permission, ...]) -> Grants:
    return {(p.kind.group, p.resource, verb) for p in permissions for verb in p.verbs}


def test_the_cluster_role_is_what_is_needed_and_no_more() -> None:
    assert granted(one("rbac", "ClusterRole")) == asked(needed("cert-manager"))
    assert asked(needed("builtin")) < asked(needed("cert-manager"))


def test_the_role_is_what_is_needed_to_lead_and_no_more() -> None:
    assert granted(one("rbac", "Role")) == asked(needed_to_lead())


def test_nothing_is_granted_as_a_wildcard() -> None:
    for kind in ("ClusterRole", "Role"):
        assert not any("*" in grant for grant in granted(one("rbac", kind)))


def test_the_deployment_is_run_as_its_command_understands_it() -> None:
    container = one("deployment", "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["lclstream", "operator"]
    arguments = _parser().parse_args(container["args"])
    assert arguments.health_port == container["ports"][0]["containerPort"]
    assert arguments.leader_election
    assert LEASE_NAME == "lclstream-operator"


def test_the_site_in_the_deployment_can_be_read() -> None:
    text = one("deployment", "ConfigMap")["data"]["site.yaml"]
    site = SiteConfig.model_validate(yaml.safe_load(text))
    assert site.operator_namespace == one("namespace", "Namespace")["metadata"]["name"]


def test_network_policies_find_the_operators_pods() -> None:
    labels = one("deployment", "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == OPERATOR_NAME
    assert labels[COMPONENT] == OPERATOR_COMPONENT
