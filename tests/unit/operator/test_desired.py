"""The objects a stream is made of: what they say, and that they say it the same way each time."""

import json

import pytest

from lclstream.config import BufferConfig, ProducerConfig
from lclstream.plan import Site, plan
from lclstream.spec import Dataset, StreamRequest, parse
from lclstream_operator import names
from lclstream_operator.desired import Context, child_key, desired
from lclstream_operator.desired.config_map import read, render
from lclstream_operator.site import SiteConfig
from operator_world import dataset, stream_request

OF_DATASET = {"dataset": {"name": "lysozyme", "run": "44"}}
VOLUMES = {
    "claim": {"persistentVolumeClaim": {"claimName": "mfx", "readOnly": True}},
    "host": {"hostPath": {"path": "/data/mfx"}},
    "nfs": {"nfs": {"server": "nfs.lab", "path": "/mfx"}},
}


def context(data=None, *, site=None, issuer="cert-manager", children=None, **spec) -> Context:
    request = stream_request(**spec)
    planned = plan(
        parse(StreamRequest, {key: request[key] for key in ("metadata", "spec")}),
        parse(Dataset, data) if data else None,
        Site.kubernetes(),
    )
    return Context(
        plan=planned,
        uid="uid-1",
        site=SiteConfig(**(site or {})),
        issuer=issuer,
        children=children or {},
    )


def made(*arguments, **spec) -> dict:
    return {child_key(manifest): manifest for manifest in desired(context(*arguments, **spec))}


def pod(manifest) -> dict:
    return manifest["spec"]["template"]["spec"]


def container(manifest) -> dict:
    (only,) = pod(manifest)["containers"]
    return only


@pytest.mark.parametrize("issuer", ["cert-manager", "builtin"])
def test_the_same_input_gives_the_same_objects_to_the_byte(issuer):
    spec = {"delivery": {"buffers": 2, "spill": "1Gi"}, "workers": {"shards": 5}}
    first, second = (json.dumps(desired(context(issuer=issuer, **spec))) for _ in range(2))
    assert first == second


def test_they_come_in_the_order_in_which_each_needs_those_before_it():
    kinds = list(dict.fromkeys(kind for kind, _ in made()))
    assert kinds == [
        "Issuer", "Certificate", "ServiceAccount", "ConfigMap", "NetworkPolicy", "Service",
        "PodDisruptionBudget", "StatefulSet", "Job",
    ]  # fmt: skip


def test_every_object_is_owned_by_the_request_and_carries_its_labels():
    for key, manifest in made().items():
        metadata = manifest["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("StreamRequest", "first", "uid-1"), key
        assert owner["controller"], key
        assert owner["blockOwnerDeletion"], key
        assert metadata["labels"].items() >= {names.STREAM: "first", names.UID: "uid-1"}.items(), key
        assert metadata["namespace"] == "lab", key


def test_names_fit_what_kubernetes_allows_for_the_longest_stream():
    longest = "x" * 45
    assert len(names.buffer(longest) + "-0123456789") <= 63, "label controller-revision-hash"
    assert len(names.workers(longest) + "-9999") <= 63, "a pod's host name"
    for name in (names.config, names.account, names.authority, names.self_signed):
        assert len(name(longest)) <= 63


# --- certificates


def test_a_ca_of_its_own_signs_one_certificate_for_each_component():
    objects = made(delivery={"buffers": 2}, workers={"shards": 2})
    assert objects["Issuer", "first-selfsigned"]["spec"] == {"selfSigned": {}}
    assert objects["Issuer", "first-ca"]["spec"] == {"ca": {"secretName": "first-ca"}}
    authority = objects["Certificate", "first-ca"]["spec"]
    assert authority["isCA"]
    assert authority["issuerRef"]["name"] == "first-selfsigned"
    assert authority["privateKey"]["rotationPolicy"] == "Never", "or a renewal would cut off all it signed"
    for role in ("buffer", "worker", "consumer", "operator"):
        spec = objects["Certificate", f"first-{role}"]["spec"]
        assert spec["secretName"] == f"first-{role}"
        assert spec["commonName"] == role
        assert spec["subject"] == {"organizations": ["first"], "organizationalUnits": ["lab"]}
        assert spec["uris"] == [f"spiffe://lclstream.io/ns/lab/stream/first/role/{role}"]
        assert spec["issuerRef"] == {"name": "first-ca", "kind": "Issuer", "group": "cert-manager.io"}
        assert spec["privateKey"] == {
            "algorithm": "ECDSA", "size": 256, "encoding": "PKCS8", "rotationPolicy": "Always",
        }  # fmt: skip
        assert (spec["duration"], spec["renewBefore"]) == ("24h0m0s", "8h0m0s")
        assert "client auth" in spec["usages"]
        assert ("server auth" in spec["usages"]) == (role == "buffer") == ("dnsNames" in spec)
        assert spec["secretTemplate"]["labels"][names.UID] == "uid-1"


def test_the_buffers_certificate_has_the_names_of_all_of_them():
    spec = made(delivery={"buffers": 2}, workers={"shards": 2})["Certificate", "first-buffer"]["spec"]
    for index in range(2):
        host = names.buffer_host("lab", "first", index)
        assert {host, f"{host}.cluster.local"} <= set(spec["dnsNames"])
    assert spec["dnsNames"][0] == "buffer"


def test_the_built_in_issuer_needs_no_objects():
    assert not {"Issuer", "Certificate"} & {kind for kind, _ in made(issuer="builtin")}


# --- configuration


def test_configurations_are_what_the_components_read():
    manifest = made(delivery={"buffers": 2}, workers={"shards": 3})["ConfigMap", "first-config"]
    assert manifest["immutable"]
    buffers = [parse(BufferConfig, json.loads(manifest["data"][f"buffer-{i}.json"])) for i in range(2)]
    assert [buffer.shards for buffer in buffers] == [[0, 2], [1]]
    for buffer in buffers:
        assert buffer.stay
        assert buffer.tls == "/etc/lclstream/tls"
        assert buffer.listen.model_dump() == {
            "host": "0.0.0.0", "ingest": 7001, "lease": 7002, "push": 7003, "status": 7080,
        }  # fmt: skip
    producer = parse(ProducerConfig, json.loads(manifest["data"]["producer.json"]))
    assert [buffer.url for buffer in producer.sink_buffer.buffers] == [
        f"tls+tcp://{names.buffer_host('lab', 'first', index)}:7001" for index in range(2)
    ]


def test_a_plan_is_read_as_it_was_rendered():
    planned = context(
        dataset(image="psana:1"), source=OF_DATASET, delivery={"buffers": 2}, workers={"shards": 3}
    )
    assert read(render(planned.plan)) == planned.plan
    assert planned.plan.workers.image == "psana:1"


@pytest.mark.parametrize("data", [None, {}, {"plan.json": "{"}, {"plan.json": "[]"}, {"plan.json": "{}"}, 7])
def test_what_is_no_plan_is_read_as_none(data):
    assert read(data) is None


def test_a_configuration_that_is_there_stays_as_it_is():
    there = made()["ConfigMap", "first-config"]
    changed = context(children={("ConfigMap", "first-config"): there}, delivery={"leaseSeconds": 7})
    objects = {child_key(manifest): manifest for manifest in desired(changed)}
    assert objects["ConfigMap", "first-config"]["data"] == there["data"]


# --- buffers


def test_each_buffer_is_started_with_the_configuration_of_its_index():
    manifest = made(delivery={"buffers": 3}, workers={"shards": 3})["StatefulSet", "first-buffer"]
    spec, own = manifest["spec"], container(manifest)
    assert (spec["replicas"], spec["podManagementPolicy"], spec["serviceName"]) == (
        3,
        "Parallel",
        "first-buffer",
    )
    assert own["command"] == ["lclstream"]
    assert own["args"] == ["buffer", "--config", "/etc/lclstream/config/buffer-$(BUFFER_INDEX).json"]
    (variable,) = own["env"]
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


def test_probes_ask_the_status_port_over_https():
    own = container(made()["StatefulSet", "first-buffer"])
    paths = {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        assert own[probe]["httpGet"] == {"path": path, "port": "status", "scheme": "HTTPS"}
    assert {port["name"]: port["containerPort"] for port in own["ports"]} == {
        "ingest": 7001, "lease": 7002, "status": 7080,
    }  # fmt: skip


@pytest.mark.parametrize(("mode", "port"), [("lease", 7002), ("push", 7003)])
def test_the_service_is_headless_and_names_what_is_listened_on(mode, port):
    spec = made(delivery={"mode": mode})["Service", "first-buffer"]["spec"]
    assert spec["clusterIP"] == "None"
    assert spec["publishNotReadyAddresses"]
    assert {entry["name"]: entry["port"] for entry in spec["ports"]} == {
        "ingest": 7001, mode: port, "status": 7080,
    }  # fmt: skip


def test_memory_covers_what_is_held_and_what_is_on_its_way():
    own = container(made(delivery={"memory": "1Gi"}, workers={"shards": 4})["StatefulSet", "first-buffer"])
    expected = 2**30 + 2**27 + 4 * 4 * 2**24 + 2**28
    assert own["resources"]["requests"]["memory"] == own["resources"]["limits"]["memory"] == str(expected)


def test_what_is_spilled_lies_on_the_node_or_on_a_volume_of_its_own():
    node = made(delivery={"spill": "2Gi"})["StatefulSet", "first-buffer"]
    (volume,) = (volume for volume in pod(node)["volumes"] if volume["name"] == "spill")
    assert int(volume["emptyDir"]["sizeLimit"]) > 2 * 2**30
    assert "ephemeral-storage" in container(node)["resources"]["requests"]
    own = made(delivery={"spill": "2Gi"}, site={"spillStorageClass": "fast"})["StatefulSet", "first-buffer"]
    (claim,) = own["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert own["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete"
    for manifest in (node, own):
        mounts = {mount["name"]: mount["mountPath"] for mount in container(manifest)["volumeMounts"]}
        assert mounts["spill"] == "/var/lib/lclstream/spill"
    none = made()["StatefulSet", "first-buffer"]
    assert "spill" not in {mount["name"] for mount in container(none)["volumeMounts"]}


def test_buffers_are_not_evicted_unless_the_site_says_so():
    assert made()["PodDisruptionBudget", "first-buffer"]["spec"]["maxUnavailable"] == 0
    assert ("PodDisruptionBudget", "first-buffer") not in made(site={"protectBuffers": False})


# --- producers


def test_the_job_has_an_index_for_each_shard_and_counts_only_real_failures():
    spec = made(workers={"shards": 8, "parallelism": 3, "retriesPerShard": 5})["Job", "first-workers"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 8, 3)
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (5, 8)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["suspend"] is False
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    rules = [
        (rule["action"], rule.get("onExitCodes", {}).get("values") or rule["onPodConditions"][0]["type"])
        for rule in spec["podFailurePolicy"]["rules"]
    ]
    assert rules == [("Ignore", "DisruptionTarget"), ("FailIndex", [2]), ("Ignore", [3])]


@pytest.mark.parametrize("kind", VOLUMES)
def test_the_datasets_volume_is_mounted_read_only_and_its_image_taken(kind):
    data = dataset(volume=VOLUMES[kind], image="psana:1")
    job = made(data, source=OF_DATASET)["Job", "first-workers"]
    own = container(job)
    assert own["image"] == "psana:1"
    (mount,) = (mount for mount in own["volumeMounts"] if mount["name"] == "data")
    assert mount == {"name": "data", "mountPath": "/data", "readOnly": True}
    (volume,) = (volume for volume in pod(job)["volumes"] if volume["name"] == "data")
    (source,) = volume.keys() - {"name"}
    assert volume[source].items() >= VOLUMES[kind][source].items()
    assert {"name": "HDF5_USE_FILE_LOCKING", "value": "FALSE"} in own["env"]


def test_resources_of_producers_are_the_sites_where_the_request_says_nothing():
    def resources(**workers):
        return container(made(workers=workers)["Job", "first-workers"])["resources"]

    assert resources() == {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}


def test_a_job_that_is_there_changes_in_what_may_change_only():
    job = made(workers={"shards": 4})["Job", "first-workers"]
    template = job["spec"]["template"]
    live = {**job, "spec": {**job["spec"], "template": json.loads(json.dumps(template)), "selector": {}}}
    live["spec"]["template"]["metadata"]["labels"] |= {"job-name": "x", "batch.kubernetes.io/job-name": "x"}
    there = {("Job", "first-workers"): live}
    again = made(
        children=there, site={"image": "new:2"}, workers={"shards": 4, "parallelism": 2, "retriesPerShard": 9}
    )["Job", "first-workers"]
    assert again["spec"] == {**job["spec"], "parallelism": 2}


# --- network


def test_only_who_has_to_may_connect_to_a_buffer():
    policy = made()["NetworkPolicy", "first-buffer"]["spec"]
    assert "egress" not in policy
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    workers, consumers, operator = policy["ingress"]
    assert workers["from"][0]["podSelector"]["matchLabels"][names.COMPONENT] == "worker"
    assert [port["port"] for port in workers["ports"]] == [7001]
    assert consumers["from"] == [{"podSelector": {"matchLabels": {"lclstream.io/consumer-of": "first"}}}]
    assert [port["port"] for port in consumers["ports"]] == [7002]
    assert operator["from"][0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "lclstream-system"
    }
    assert [port["port"] for port in operator["ports"]] == [7080, 7001]


def test_producers_connect_to_names_and_buffers_only_and_nobody_to_them():
    policy = made()["NetworkPolicy", "first-workers"]["spec"]
    assert "ingress" not in policy
    dns, buffers = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert [port["port"] for port in buffers["ports"]] == [7001]


def test_a_site_may_do_without_policies_and_let_others_in():
    assert not [key for key in made(site={"network": {"policies": False}}) if key[0] == "NetworkPolicy"]
    gateway = {"namespaceSelector": {"matchLabels": {"a": "b"}}}
    policy = made(site={"network": {"consumerPeers": [gateway]}})["NetworkPolicy", "first-buffer"]
    assert gateway in policy["spec"]["ingress"][1]["from"]


# --- the restricted Pod Security Standard

RESTRICTED_VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected",
    "secret",
}  # fmt: skip


def violations(template) -> list[str]:
    """What the restricted Pod Security Standard forbids, and what we demand beyond it."""
    spec = template["spec"]
    security = spec.get("securityContext", {})
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    found += [f"volume {v['name']}" for v in spec["volumes"] if not set(v) - {"name"} <= RESTRICTED_VOLUMES]
    wanted = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    found += [key for key, value in wanted.items() if security.get(key) != value]
    found += [
        key for key in ("automountServiceAccountToken", "enableServiceLinks") if spec.get(key) is not False
    ]
    for own in spec["containers"] + spec.get("initContainers", []):
        wanted = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        found += [key for key, value in wanted.items() if own["securityContext"].get(key) != value]
        if not own["resources"]["requests"].keys() >= {"cpu", "memory"}:
            found.append("requests")
        if "memory" not in own["resources"]["limits"]:
            found.append("limits")
        if any("hostPort" in port for port in own.get("ports", ())):
            found.append("hostPort")
    return found


@pytest.mark.parametrize("kind", ["StatefulSet", "Job"])
@pytest.mark.parametrize("spill", [None, "1Gi"])
def test_every_pod_meets_the_restricted_standard(kind, spill):
    objects = made(dataset(), source=OF_DATASET, delivery={"spill": spill} if spill else {})
    (manifest,) = (manifest for (found, _), manifest in objects.items() if found == kind)
    template = manifest["spec"]["template"]
    assert violations(template) == []
    assert template["spec"]["topologySpreadConstraints"]
    assert template["spec"]["terminationGracePeriodSeconds"] == 30


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("securityContext", "runAsNonRoot"), False, "runAsNonRoot"),
        (("hostNetwork",), True, "hostNetwork"),
        (("automountServiceAccountToken",), True, "automountServiceAccountToken"),
        (("containers", 0, "securityContext", "capabilities"), {"add": ["SYS_ADMIN"]}, "capabilities"),
        (("containers", 0, "resources", "limits"), {}, "limits"),
    ],
)
def test_the_checker_finds_what_it_looks_for(path, value, expected):
    template = made()["Job", "first-workers"]["spec"]["template"]
    target = template["spec"]
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    assert violations(template) == [expected]


def test_placement_is_the_sites():
    placement = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "beam", "operator": "Exists"}],
        "priorityClassName": "online",
        "supplementalGroups": [2500],
    }
    objects = made(site={"placement": placement, "imagePullSecrets": ["pull"], "imagePullPolicy": "Never"})
    for key in (("StatefulSet", "first-buffer"), ("Job", "first-workers")):
        spec = pod(objects[key])
        assert spec["nodeSelector"] == {"disk": "fast"}
        assert spec["tolerations"] == placement["tolerations"]
        assert spec["priorityClassName"] == "online"
        assert spec["imagePullSecrets"] == [{"name": "pull"}]
        assert container(objects[key])["imagePullPolicy"] == "Never"
    assert pod(objects["Job", "first-workers"])["securityContext"]["supplementalGroups"] == [2500]
