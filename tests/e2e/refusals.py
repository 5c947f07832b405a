"""Wrong objects, where the API server finds the fault, and the sentence that it must say.

One list for the rules between fields (CEL), one for what the schema itself refuses.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.e2e.kube import Document

ABSENT = object()
DIGEST = "sha256:" + "0" * 64
DEPLOYMENT: Document = {
    "apiVersion": "modeldeploy.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"name": "weather"},
    "spec": {
        "models": [{"name": "svc", "source": {"uri": "https://models.example.com/svc.onnx"}}],
        "target": {"aks": {}},
    },
}
VERSION: Document = {
    "apiVersion": "modeldeploy.dev/v1alpha1",
    "kind": "ModelVersion",
    "metadata": {"name": "svc-2"},
    "spec": {
        "model": "svc",
        "version": 2,
        "digest": DIGEST,
        "uri": "https://models.example.com/svc.onnx",
        "format": "ONNX",
        "sizeBytes": 10,
    },
}


def changed(document: Document, changes: dict[str, Any]) -> Document:
    """A copy with the values at dotted paths replaced; ABSENT takes one away."""
    copied = copy.deepcopy(document)
    for path, value in changes.items():
        *above, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        node: Any = copied
        for key in above:
            node = node[key] if isinstance(key, int) else node.setdefault(key, {})
        if value is ABSENT:
            del node[last]
        elif isinstance(node, list) and last == len(node):
            node.append(value)
        else:
            node[last] = value
    return copied


def deployment(**changes: Any) -> Document:
    return changed(DEPLOYMENT, changes)


def version(**changes: Any) -> Document:
    return changed(VERSION, changes)


def model(uri: str) -> Document:
    return deployment(**{"spec.models.0.source.uri": uri})


def resources(**given: Any) -> Document:
    return deployment(**{"spec.target.aks.resources": given})


def toleration(**given: Any) -> Document:
    return deployment(**{"spec.target.aks.tolerations": [given]})


NAME = (
    "metadata.name must have at most 40 characters, lower-case letters, digits and -, begin with a letter and end with"
    " a letter or digit: a Service is named so"
)
VERSION_NAME = "metadata.name must be MODEL-VERSION, such as weather-2 for version 2 of model weather"
ONE_OF_SOURCE_AND_VERSION = "give exactly one of source (bytes to register) and version (registered already)"
OF_THE_VERSION = (
    "format, description, tags and lineage belong to the registered version: leave them out where version is given"
)
ONE_OF_CODE = "give exactly one of configMapRef (a ConfigMap with the script) and inline (the script itself)"
ONLY_ONNX = "only ONNX models are served without a script: give code for models of another format"
INIT_BELOW_DEADLINE = (
    "scoring.initTimeoutSeconds (300 where it is not given) must be below"
    " target.aks.rollout.progressDeadlineSeconds (600 where it is not given), or a rollout would be given up while"
    " init() may still run: raise the latter"
)
SCHEME = "uri must begin with https://, http://, pvc:// or configmap://"
HTTP = "an http uri names a host and a file: https://host/path/model.onnx"
PVC = "a pvc uri names a PersistentVolumeClaim and a file or folder in it: pvc://claim/path"
CONFIG_MAP = "a configmap uri names a ConfigMap and one of its keys: configmap://name/key"
SECRETS = (
    "uri must not carry a user name, password or query, which whoever reads this object could read: give a uri that"
    " needs none, or put the file on a volume (pvc://claim/path)"
)
DOTS = "uri must not contain . or .. as a path segment: write the path that it leads to"
TAG = "a tag's name has 1 to 63 characters: shorten it"
NODE_LABEL = "a node label is named name or domain/name, such as kubernetes.io/arch"
ACCELERATOR = "an accelerator is named with its domain, such as nvidia.com/gpu; cpu and memory have fields of their own"
NO_KEYS = "belongs to mode: Key; leave it out with mode: None, which has no keys"

SOURCE = "spec.models[0].source"
RESOURCES = "spec.target.aks.resources"
TOLERATION = "spec.target.aks.tolerations[0]"

RULES = [
    pytest.param(deployment(**{"metadata.name": "w" * 41}), "", NAME, id="a name of 41 characters"),
    pytest.param(deployment(**{"metadata.name": "2weather"}), "", NAME, id="a name that begins with a digit"),
    pytest.param(deployment(**{"metadata.name": "wea.ther"}), "", NAME, id="a name with a dot"),
    pytest.param(version(**{"metadata.name": "svc-3"}), "", VERSION_NAME, id="a version named after another number"),
    pytest.param(version(**{"metadata.name": "scaler-2"}), "", VERSION_NAME, id="a version named after another model"),
    pytest.param(version(**{"metadata.name": "svc-02"}), "", VERSION_NAME, id="a version's name with a leading zero"),
    pytest.param(version(**{"metadata.name": "svc"}), "", VERSION_NAME, id="a version's name without a number"),
    pytest.param(
        deployment(**{"spec.models.0.version": "2"}), "spec.models[0]", ONE_OF_SOURCE_AND_VERSION,
        id="both source and version",
    ),
    pytest.param(
        deployment(**{"spec.models.0.source": ABSENT}), "spec.models[0]", ONE_OF_SOURCE_AND_VERSION,
        id="neither source nor version",
    ),
    *(
        pytest.param(
            deployment(**{"spec.models.0": {"name": "svc", "version": "latest", field: value}}), "spec.models[0]",
            OF_THE_VERSION, id=f"version with {field}",
        )
        for field, value in {"format": "ONNX", "description": "d", "tags": {"a": "b"}, "lineage": {}}.items()
    ),
    pytest.param(deployment(**{"spec.models.0.format": "Sklearn"}), "spec", ONLY_ONNX, id="Sklearn without code"),
    pytest.param(
        deployment(**{"spec.models.1": {"name": "b", "source": {"uri": "pvc://c/b"}, "format": "Custom"}}), "spec",
        ONLY_ONNX, id="one of two models is not ONNX",
    ),
    pytest.param(
        deployment(**{"spec.scoring.initTimeoutSeconds": 600}), "spec", INIT_BELOW_DEADLINE,
        id="init may take as long as the rollout",
    ),
    pytest.param(
        deployment(**{"spec.target.aks.rollout.progressDeadlineSeconds": 300}), "spec", INIT_BELOW_DEADLINE,
        id="the rollout may take as long as init",
    ),
    pytest.param(
        deployment(**{"spec.target": {}}), "spec.target", "name one target: aks: {} serves in this cluster",
        id="no target",
    ),
    pytest.param(model("s3://bucket/svc.onnx"), SOURCE, SCHEME, id="a scheme of another kind"),
    pytest.param(model("/srv/svc.onnx"), SOURCE, SCHEME, id="a path instead of a uri"),
    pytest.param(model("https://models.example.com"), SOURCE, HTTP, id="an http uri without a path"),
    pytest.param(model("https://models.example.com/folder/"), SOURCE, HTTP, id="an http uri of a folder"),
    pytest.param(model("https:///svc.onnx"), SOURCE, HTTP, id="an http uri without a host"),
    pytest.param(model("https://models.example.com/my svc.onnx"), SOURCE, HTTP, id="an http uri with a space"),
    pytest.param(model("https://models.example.com/svc.onnx#v2"), SOURCE, HTTP, id="an http uri with a fragment"),
    pytest.param(model("pvc://claim"), SOURCE, PVC, id="a claim without a path"),
    pytest.param(model("pvc://claim//svc.onnx"), SOURCE, PVC, id="a claim with an absolute path"),
    pytest.param(model("pvc://My_Claim/svc.onnx"), SOURCE, PVC, id="a claim's name in capitals"),
    pytest.param(model("configmap://models"), SOURCE, CONFIG_MAP, id="a ConfigMap without a key"),
    pytest.param(model("configmap://models/a/b"), SOURCE, CONFIG_MAP, id="a ConfigMap's key with a slash"),
    pytest.param(model("https://user:word@models.example.com/svc.onnx"), SOURCE, SECRETS, id="a password in the uri"),
    pytest.param(model("https://models.example.com/svc.onnx?sig=x"), SOURCE, SECRETS, id="a signature in the uri"),
    pytest.param(model("pvc://claim/../svc.onnx"), SOURCE, DOTS, id="a way out of the volume"),
    pytest.param(model("https://models.example.com/a/./svc.onnx"), SOURCE, DOTS, id="a dot in the path"),
    pytest.param(deployment(**{"spec.code": {}}), "spec.code", ONE_OF_CODE, id="code without a script"),
    pytest.param(
        deployment(**{"spec.code": {"inline": "x", "configMapRef": {"name": "c"}}}), "spec.code", ONE_OF_CODE,
        id="code from two places",
    ),
    pytest.param(
        deployment(**{"spec.auth": {"mode": "None", "keysSecretName": "k"}}), "spec.auth", f"keysSecretName {NO_KEYS}",
        id="a Secret for keys without keys",
    ),
    pytest.param(
        deployment(**{"spec.auth": {"mode": "None", "publishKeysInStatus": True}}), "spec.auth",
        f"publishKeysInStatus {NO_KEYS}", id="published keys without keys",
    ),
    pytest.param(
        deployment(**{"spec.tags": {"k" * 64: "v"}}), "spec.tags", TAG, id="a deployment's tag of 64 characters"
    ),
    pytest.param(deployment(**{"spec.tags": {"": "v"}}), "spec.tags", TAG, id="a tag without a name"),
    pytest.param(
        deployment(**{"spec.models.0.tags": {"k" * 64: "v"}}), "spec.models[0].tags", TAG,
        id="a model's tag of 64 characters",
    ),
    pytest.param(version(**{"spec.tags": {"k" * 64: "v"}}), "spec.tags", TAG, id="a version's tag of 64 characters"),
    pytest.param(
        deployment(**{"spec.target.aks.autoscale": {}, "spec.target.aks.replicas": 2}), "spec.target.aks",
        "give at most one of autoscale and replicas; without both autoscale's defaults (1 to 10 at 70 %) apply",
        id="both autoscale and replicas",
    ),
    pytest.param(
        deployment(**{"spec.target.aks.autoscale.minReplicas": 11}), "spec.target.aks.autoscale",
        "minReplicas must not exceed maxReplicas (10 where it is not given): raise maxReplicas",
        id="more replicas at least than at most",
    ),
    pytest.param(resources(cpu="0"), RESOURCES, "cpu must be at least 1m, a thousandth of a core", id="no cpu"),
    pytest.param(
        resources(memory="500m"), RESOURCES,
        "memory must be at least 1Mi; the suffix m means thousandths of a byte: write 500Mi, not 500m",
        id="memory in thousandths of a byte",
    ),
    pytest.param(
        resources(cpuLimit="99m"), RESOURCES, "cpuLimit must not be below cpu (100m where it is not given)",
        id="a cpu limit below the request",
    ),
    pytest.param(
        resources(memory="1Gi", memoryLimit="1000Mi"), RESOURCES,
        "memoryLimit must not be below memory (500Mi where it is not given)", id="a memory limit below the request",
    ),
    pytest.param(
        resources(accelerators={"gpu": 1}), f"{RESOURCES}.accelerators", ACCELERATOR, id="a gpu without domain"
    ),
    pytest.param(
        deployment(**{"spec.target.aks.nodeSelector": {"my label": "x"}}), "spec.target.aks.nodeSelector", NODE_LABEL,
        id="a node label with a space",
    ),
    pytest.param(
        toleration(effect="NoSchedule"), TOLERATION,
        "a toleration without key tolerates every taint: give key, or say operator: Exists",
        id="a toleration without key",
    ),
    pytest.param(
        toleration(key="gpu", operator="Exists", value="yes"), TOLERATION,
        "operator Exists compares no value: leave value out, or say operator: Equal", id="Exists with a value",
    ),
    pytest.param(
        toleration(key="gpu", effect="NoSchedule", tolerationSeconds=5), TOLERATION,
        "tolerationSeconds belongs to effect: NoExecute; leave it out for other effects",
        id="seconds of a taint that evicts nobody",
    ),
]  # fmt: skip
IMMUTABLE = "a registered version never changes: register a new one"

SCHEMA = [
    pytest.param(
        deployment(**{"spec.models.0.name": "Weather"}), "spec.models[0].name",
        'Invalid value: "Weather": spec.models[0].name in body should match \'^[a-z0-9]([-a-z0-9]*[a-z0-9])?$\'',
        id="a pattern",
    ),
    pytest.param(
        deployment(**{"spec.models.0.format": "PyTorch"}), "spec.models[0].format",
        'Unsupported value: "PyTorch": supported values: "ONNX", "Sklearn", "MLflow", "Custom"', id="an enum",
    ),
    pytest.param(
        deployment(**{"spec.scoring.timeoutMs": 300001}), "spec.scoring.timeoutMs",
        "Invalid value: 300001: spec.scoring.timeoutMs in body should be less than or equal to 300000",
        id="more than the maximum",
    ),
    pytest.param(
        deployment(**{"spec.target.aks.autoscale.minReplicas": 0}), "spec.target.aks.autoscale.minReplicas",
        "Invalid value: 0: spec.target.aks.autoscale.minReplicas in body should be greater than or equal to 1",
        id="scale to zero, which nothing here does",
    ),
    pytest.param(
        deployment(**{"spec.target.aks.resources.memory": "1GB"}), "spec.target.aks.resources.memory",
        'Invalid value: "1GB": spec.target.aks.resources.memory in body should match'
        " '^[0-9]+([.][0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$'",
        id="a unit that Kubernetes does not know",
    ),
    pytest.param(deployment(**{"spec.target": ABSENT}), "spec.target", "Required value", id="a required field"),
    pytest.param(
        deployment(**{"spec.models": []}), "spec.models",
        "Invalid value: 0: spec.models in body should have at least 1 items", id="no model",
    ),
    pytest.param(
        deployment(**{"spec.models": [{"name": f"m{i}", "version": "1"} for i in range(21)]}), "spec.models",
        "Too many: 21: must have at most 20 items", id="too many models",
    ),
    pytest.param(
        deployment(**{"spec.models": [{"name": "m", "version": "1"}, {"name": "m", "version": "2"}]}), "spec.models[1]",
        'Duplicate value: {"name":"m"}', id="two models of one name",
    ),
    pytest.param(
        deployment(**{"spec.code": {"inline": "x" * 65537}}), "spec.code.inline",
        "Too long: may not be more than 65536 bytes", id="a script of more than 64 KiB",
    ),
    pytest.param(
        deployment(**{"spec.suspend": "yes"}), "spec.suspend",
        'Invalid value: "string": spec.suspend in body must be of type boolean: "string"', id="a wrong type",
    ),
    pytest.param(
        deployment(**{"spec.models.0.source.sha256": "9F2C"}), "spec.models[0].source.sha256",
        'Invalid value: "9F2C": spec.models[0].source.sha256 in body should match \'^[0-9a-f]{64}$\'',
        id="a digest that is none",
    ),
    pytest.param(
        version(**{"spec.version": 0, "metadata.name": "svc-0"}), "spec.version",
        "Invalid value: 0: spec.version in body should be greater than or equal to 1", id="version 0",
    ),
]  # fmt: skip
