"""The CustomResourceDefinitions, and the command that writes them: python -m modeldeploy_operator.api.crd --write.

Generated files are never edited: `--check` names every one that differs from what the types say.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from . import reference
from .schema import Schema, structural
from .shapes import GROUP, RULES, VERSION, Shape
from .status import ModelDeploymentStatus
from .v1alpha1 import ModelDeployment, ModelDeploymentSpec, ModelVersion, ModelVersionSpec

DIRECTORIES = (Path("crds"), Path("charts/modeldeploy/crd-files"))
REFERENCE = Path("docs/api.md")
HEADER = "# Generated from operator/modeldeploy_operator/api by `make crds`. Do not edit.\n"


@dataclass(frozen=True)
class Column:
    """One column of kubectl get; `priority` 1 shows it with -o wide only."""

    name: str
    type: str
    path: str
    description: str
    priority: int = 0

    def document(self) -> dict[str, Any]:
        """The column as additionalPrinterColumns has it."""
        return {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True)
class Resource:
    """What a CRD says beyond its schema."""

    root: type[Shape]
    spec: type[Shape]
    plural: str
    short: str
    columns: tuple[Column, ...]
    status: type[Shape] | None = None
    scale: tuple[str, str, str] | None = None

    @property
    def kind(self) -> str:
        """ModelDeployment for the type of that name."""
        return self.root.__name__


RESOURCES = (
    Resource(
        root=ModelDeployment,
        spec=ModelDeploymentSpec,
        status=ModelDeploymentStatus,
        plural="modeldeployments",
        short="mldep",
        scale=(".spec.target.aks.replicas", ".status.replicas", ".status.selector"),
        columns=(
            Column("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', "Whether all is as wished."),
            Column("Target", "string", ".status.target", "Where the models are served."),
            Column("Version", "string", ".status.versions", "The models' registered versions."),
            Column("Replicas", "integer", ".status.replicas", "Replicas that exist."),
            Column("URL", "string", ".status.endpoint.scoringUri", "Where clients score."),
            Column("Age", "date", ".metadata.creationTimestamp", "Time since creation."),
            Column(
                "Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', "Why it is or is not Ready.", 1
            ),
        ),
    ),
    Resource(
        root=ModelVersion,
        spec=ModelVersionSpec,
        plural="modelversions",
        short="mlv",
        columns=(
            Column("Model", "string", ".spec.model", "The model's name."),
            Column("Version", "integer", ".spec.version", "Its version."),
            Column("Format", "string", ".spec.format", "How the model was saved."),
            Column("Size", "integer", ".spec.sizeBytes", "Bytes in all."),
            Column("Digest", "string", ".spec.digest", "SHA-256 of the bytes.", 1),
            Column("Age", "date", ".metadata.creationTimestamp", "Time since creation."),
        ),
    ),
)


def definition(resource: Resource) -> dict[str, Any]:
    """The CustomResourceDefinition of one resource."""
    subresources: dict[str, Any] = {"status": {}} if resource.status else {}
    if resource.scale:
        spec_path, status_path, selector_path = resource.scale
        subresources["scale"] = {
            "specReplicasPath": spec_path,
            "statusReplicasPath": status_path,
            "labelSelectorPath": selector_path,
        }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(resource)},
        **({"subresources": subresources} if subresources else {}),
        "additionalPrinterColumns": [column.document() for column in resource.columns],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short],
                "categories": ["ml"],
            },
            "versions": [version],
        },
    }


def definitions() -> tuple[dict[str, Any], ...]:
    """All of them, in the order in which the reference shows them."""
    return tuple(definition(resource) for resource in RESOURCES)


def files(directories: Sequence[Path], reference_page: Path) -> dict[Path, str]:
    """Every generated file with the text that it must have."""
    documents = definitions()
    texts = {f"{document['metadata']['name'].replace('.', '_')}.yaml": _yaml(document) for document in documents}
    pages = {directory / name: text for directory in directories for name, text in texts.items()}
    return {**pages, reference_page: reference.page(documents)}


def stale(expected: dict[Path, str], directories: Sequence[Path]) -> list[Path]:
    """The files that differ from `expected`, are missing, or lie in `directories` without being expected."""
    differing = [path for path, text in expected.items() if not path.exists() or path.read_text("utf-8") != text]
    left_over = [path for directory in directories for path in directory.glob("*.yaml") if path not in expected]
    return sorted(differing + left_over)


def main(arguments: Sequence[str]) -> int:
    """Write the generated files, or name those that are out of date."""
    parser = argparse.ArgumentParser(prog="python -m modeldeploy_operator.api.crd", description=__doc__)
    verb = parser.add_mutually_exclusive_group(required=True)
    verb.add_argument("--write", action="store_true", help="write every generated file")
    verb.add_argument("--check", action="store_true", help="fail when one is out of date, and name it")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="the API reference (%(default)s)")
    parser.add_argument("directories", nargs="*", type=Path, help="where the CRDs go (crds and the chart's crd-files)")
    options = parser.parse_args(arguments)
    directories = options.directories or DIRECTORIES
    expected = files(directories, options.reference)
    out_of_date = stale(expected, directories)
    if options.check:
        for path in out_of_date:
            sys.stderr.write(f"{path} is out of date: run make crds\n")
        return 1 if out_of_date else 0
    for path in out_of_date:
        if path in expected:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(expected[path], "utf-8")
        else:
            path.unlink()
        sys.stdout.write(f"{path}\n")
    return 0


def _root(resource: Resource) -> Schema:
    properties: Schema = {
        "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}."},
        "kind": {"type": "string", "description": f"{resource.kind}."},
        "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 63}}},
        "spec": structural(resource.spec, "spec"),
    }
    if resource.status:
        properties["status"] = structural(resource.status, "status")
    return {
        "description": resource.root.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": properties,
        RULES: [rule.document() for rule in resource.root.rules],
    }


class _Dumper(yaml.SafeDumper):
    """No aliases: a CRD is read by people."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(document: dict[str, Any]) -> str:
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=118, allow_unicode=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
