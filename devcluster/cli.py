"""The command line: verbs to calls. What a verb does is in cluster.py, images.py and programs.py."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from devcluster import cluster, images, layout, locks, programs, progress, settings
from devcluster.errors import DevclusterError
from devcluster.settings import Extent

CHECKOUT = Path(__file__).resolve().parents[1]


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m devcluster", description="A real one-node Kubernetes on this machine."
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--instance", default="", metavar="NAME", help="another cluster beside the default one")

    def verb(name: str, text: str) -> argparse.ArgumentParser:
        return verbs.add_parser(name, help=text, description=text, parents=[shared])

    up = verb("up", "start the cluster; what runs already is left alone")
    up.add_argument("--control-plane-only", action="store_true", help="no kubelet and so no pods; needs no root")
    up.add_argument("--replace", action="store_true", help="end another checkout's cluster if it is in the way")
    verb("down", "stop the cluster and remove all that it made on this machine")
    status = verb("status", "say what runs; exit code 1 when something does not")
    status.add_argument("--json", action="store_true", help="for programs")
    build_images = verb("images", "build our images and import them into the node")
    build_images.add_argument("--only", choices=sorted(images.OURS), help="this one alone")
    load = verb("load-image", "import an image into the node")
    load.add_argument("image", metavar="REF|ARCHIVE", help="a name of `devcluster images`, or a docker/OCI archive")
    logs = verb("logs", "print a component's log")
    logs.add_argument("component")
    logs.add_argument("-f", "--follow", action="store_true", help="and go on printing")
    verb("stop-component", "stop one component, for tests of what then happens").add_argument("component")
    verb("start-component", "start it again and wait until it answers").add_argument("component")
    build = verb("build", "compile the programs into the cache, and nothing else")
    build.add_argument(
        "--parts", default="kube,helm,metrics-server", help=f"comma-separated, of {', '.join(programs.PROGRAMS)}"
    )
    return top


def main(arguments: Sequence[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        return run(options)
    except DevclusterError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("devcluster: interrupted; run the same verb again to go on", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    cache = layout.cache_directory(os.environ)
    place = layout.instance_layout(CHECKOUT, options.instance)
    output = progress.to_stderr()
    match options.verb:
        case "status":
            return print_status(place, in_json=options.json)
        case "logs":
            return print_log(cluster.log_of(place, options.component), follow=options.follow)
        case "build":
            return build(options.parts.split(","), place, cache, output)
    with locks.exclusive(place.lock(cache), lambda: output.line("another devcluster command is at work; waiting")):
        match options.verb:
            case "up":
                extent = Extent.CONTROL_PLANE if options.control_plane_only else Extent.FULL
                rival = cluster.Rival.REPLACE if options.replace else cluster.Rival.REFUSE
                cluster.up(place, extent, rival=rival, cache=cache, progress=output)
                print(place.kubeconfig)
            case "down":
                cluster.down(place, output)
            case "images":
                images.ensure(options.only, CHECKOUT, running(place), cache, output)
            case "load-image":
                images.load(options.image, running(place), cache, output)
            case "stop-component":
                cluster.stop_component(place, options.component)
            case "start-component":
                cluster.start_component(place, options.component, output)
    return 0


def running(place: layout.Layout) -> settings.Settings | None:
    """The full cluster whose node images go to; None where there is none, and they stay in the cache."""
    current = settings.read(place)
    return current if current is not None and current.extent is Extent.FULL else None


def build(parts: Sequence[str], place: layout.Layout, cache: Path, output: progress.Progress) -> int:
    unknown = sorted(set(parts) - set(programs.PROGRAMS))
    if unknown:
        raise DevclusterError(f"Unknown part {unknown[0]!r}; there are {', '.join(programs.PROGRAMS)}.")
    programs.build(parts, cache, output)
    if settings.read(place) is not None:
        programs.link(place.bin, parts, cache)
    for part in parts:
        print(programs.cached(programs.PROGRAMS[part], cache))
    return 0


def print_status(place: layout.Layout, *, in_json: bool) -> int:
    document = cluster.status(place)
    if in_json:
        print(json.dumps(document, indent=2))
    elif not document["components"]:
        print(f"no devcluster at {document['root']}")
    else:
        print(f"{document['extent']} cluster, {document['server']}\nkubeconfig {document['kubeconfig']}")
        for row in document["components"]:
            state = "running" if row["healthy"] else "not answering" if row["pid"] else "stopped"
            print(f"  {row['name']:<26} {state:<14} {row['pid'] or ''}")
    return 0 if document["running"] else 1


def print_log(log: Path, *, follow: bool) -> int:
    if not log.exists():
        raise DevclusterError(f"There is no log yet at {log}.")
    command = ["tail", "-n", "+1", "-F", str(log)] if follow else ["cat", str(log)]
    sys.stdout.flush()
    os.execvp(command[0], command)
