"""`python -m demo up|down`: what `make demo` and `make demo-down` run."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import cluster as clusters
from . import stories
from .cluster import DEVCLUSTER, MARK, STATE, Cluster
from .terminal import DemoError, note, say, show, step

EXAMPLES = ("weather", "diabetes")
STEPS = 5


def up(cluster: Cluster, namespace: str) -> int:
    """Everything from a cluster to predictions. Safe to run again."""
    started = time.monotonic()
    say(f"Cluster: {cluster}")
    with tempfile.TemporaryDirectory(prefix="modeldeploy-demo-") as build:
        told = [stories.Story(name, Path(build) / name) for name in EXAMPLES]
        with step(1, STEPS, "Start the cluster and load the images"):
            clusters.start(cluster)
        with step(2, STEPS, f"Install the operator in namespace {clusters.OPERATOR_NAMESPACE}"):
            clusters.install(cluster)
        with step(3, STEPS, "Train the example models"):
            for story in told:
                story.train()
        with step(4, STEPS, f"Apply the examples in namespace {namespace} and wait until they are Ready"):
            _namespace(cluster, namespace)
            for story in told:
                stories.apply(cluster, story, namespace)
            statuses = [stories.wait_ready(cluster, story, namespace) for story in told]
        with step(5, STEPS, "Ask each endpoint, with the key that its status leads to"):
            right = [_ask(cluster, story, namespace, status) for story, status in zip(told, statuses, strict=True)]
    say(f"\n$ kubectl get mldep -n {namespace}")
    say(cluster.kubectl("get", "mldep", "--namespace", namespace).rstrip())
    _how_to_go_on(cluster, namespace)
    count = sum(right)
    say(f"\n{count} of {len(right)} examples answered as expected, {time.monotonic() - started:.0f} s in all")
    return int(count != len(right))


def _ask(cluster: Cluster, story: stories.Story, namespace: str, status: dict[str, object]) -> bool:
    answer = stories.ask(cluster, story, namespace, status)
    endpoint = status["endpoint"]
    assert isinstance(endpoint, dict)
    note(f"POST {endpoint['scoringUri']}")
    note(f"request   {json.dumps(story.request)}")
    note(f"answer    {json.dumps(answer)}")
    if stories.close(story.expected, answer):
        return True
    note(f"expected  {json.dumps(story.expected)}")
    return False


def _namespace(cluster: Cluster, namespace: str) -> None:
    """A namespace under the restricted Pod Security standard; one that exists is used as it is."""
    if cluster.get("namespace", namespace) is None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": namespace, "labels": labels, "annotations": {MARK: "yes"}}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def _how_to_go_on(cluster: Cluster, namespace: str) -> None:
    say("\nGo on:")
    if cluster.own:
        say("  export KUBECONFIG=$PWD/.devcluster/kubeconfig PATH=$PWD/.devcluster/bin:$PATH")
    say(f"  kubectl describe mldep weather -n {namespace}     # conditions, versions, endpoint")
    say(f"  kubectl get mlv -n {namespace}                    # the registered model versions")
    say("  less docs/getting-started.md                 # deploy a model of your own")
    say("  make demo-down                               # take it all away")


def down(cluster: Cluster, namespace: str) -> int:
    """Remove what `up` made; the devcluster goes as a whole."""
    say(f"Cluster: {cluster}")
    if cluster.own:
        show([*DEVCLUSTER, "down"])
        if STATE.exists():
            raise DemoError(f"{STATE.name} is still there")
        return 0
    for name in EXAMPLES:
        cluster.kubectl("delete", "modeldeployment", name, "--namespace", namespace, "--ignore-not-found", "--wait")
    found = cluster.get("namespace", namespace)
    if found is not None and MARK in found["metadata"].get("annotations", {}):
        cluster.kubectl("delete", "namespace", namespace, "--wait")
    clusters.uninstall(cluster)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run one verb."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("verb", choices=("up", "down"))
    parser.add_argument("--namespace", default="demo", help="where the examples are applied (default: demo)")
    options = parser.parse_args(arguments)
    try:
        cluster = clusters.chosen(os.environ)
        return up(cluster, options.namespace) if options.verb == "up" else down(cluster, options.namespace)
    except DemoError as error:
        sys.stdout.flush()
        print(f"\n{error}", file=sys.stderr)
        return 1
    except subprocess.TimeoutExpired as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
