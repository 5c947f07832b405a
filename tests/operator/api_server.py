"""What the API server would hold of a document that we apply: defaults, canonical quantities, metadata of its own.

A model, good enough for tables and properties; test_children_on_a_cluster.py asks the real API server.
"""

from __future__ import annotations

import copy
from fractions import Fraction
from typing import Any

from modeldeploy_operator.core import quantities
from modeldeploy_operator.core.decide import stamped
from modeldeploy_operator.core.documents import Document

CREATED = "2026-08-01T11:00:00Z"


def stored(document: Document, *, generation: int = 1) -> Document:
    """`document` as a later GET or watch event gives it."""
    held = copy.deepcopy(stamped(document))
    held["metadata"] |= {
        "uid": f"uid-of-{held['kind']}-{held['metadata']['name']}",
        "resourceVersion": "41",
        "creationTimestamp": CREATED,
        "generation": generation,
    }
    match held["kind"]:
        case "Deployment":
            _default_workload(held["spec"])
        case "Service":
            held["spec"] |= {
                "clusterIP": "10.96.0.17",
                "clusterIPs": ["10.96.0.17"],
                "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "sessionAffinity": "None",
            }
    return held


def _default_workload(spec: dict[str, Any]) -> None:
    spec.setdefault("replicas", 1)
    pod = spec["template"]["spec"]
    spec["template"]["metadata"]["creationTimestamp"] = None
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod["serviceAccount"] = pod["serviceAccountName"]
    for container in (*pod["initContainers"], *pod["containers"]):
        container["terminationMessagePath"] = "/dev/termination-log"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container:
                container[probe].setdefault("successThreshold", 1)
                container[probe]["httpGet"].setdefault("scheme", "HTTP")
        for amounts in container["resources"].values():
            amounts |= {name: canonical(amount) for name, amount in amounts.items()}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            volume["configMap"].setdefault("defaultMode", 0o644)


def canonical(amount: str) -> str:
    """A quantity as the API server writes it: no fraction, and the greatest unit that leaves none."""
    number = quantities.parse(amount)
    assert number is not None
    binary = amount.endswith("i")
    units = [(f"{s}i", Fraction(2**p)) for s, p in zip("EPTGMK", range(60, 0, -10), strict=True)] if binary else []
    units += [] if binary else [(s, Fraction(10**p)) for s, p in zip("EPTGMk", range(18, 0, -3), strict=True)]
    for suffix, unit in (*units, ("", Fraction(1)), ("m", Fraction(1, 1000))):
        if number and (number / unit).denominator == 1:
            return f"{number / unit}{suffix}"
    return "0" if not number else f"{-(-number // Fraction(1, 1000))}m"
