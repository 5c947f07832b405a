"""Reads a deployment's scoring script: inline, or out of the user's ConfigMap by one GET for each of its versions.

The watch tells no more of ConfigMaps than their metadata, so this is where the content of one is read, and only of
those that a deployment names.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from modeldeploy_operator.api.v1alpha1 import Code, ModelDeployment
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import CONFIG_MAP, Document, Key
from modeldeploy_operator.core.facts import ScoringCode
from modeldeploy_operator.errors import Stalled, Waiting

KEYS_SHOWN = 20


class Reader(Protocol):
    """The part of Cluster that reads."""

    async def get(self, key: Key) -> Document | None:
        """The object as it is now."""


class Lookup(Protocol):
    """The part of Store that finds."""

    def get(self, key: Key) -> Document | None:
        """The object as the watch told it."""


@dataclass(frozen=True)
class _Read:
    version: str
    files: Mapping[str, str]


class CodeReader:
    """Remembers the content of each ConfigMap under its resourceVersion."""

    def __init__(self, cluster: Reader, store: Lookup) -> None:
        self._cluster = cluster
        self._store = store
        self._read: dict[Key, _Read] = {}

    async def resolve(self, deployment: ModelDeployment) -> ScoringCode | None:
        """The script and what lies beside it, None without code. Raises only ReconcileError."""
        code = deployment.spec.code
        if code is None:
            return None
        if code.config_map_ref is None:
            return scoring_code(code.entry_script, {code.entry_script: code.inline or ""})
        key = Key(CONFIG_MAP, deployment.metadata.namespace, code.config_map_ref.name)
        files = await self._files(key)
        if code.entry_script not in files:
            raise Stalled("EntryScriptNotFound", _absent(key, code, files))
        return scoring_code(code.entry_script, files)

    async def _files(self, key: Key) -> Mapping[str, str]:
        known = self._store.get(key)
        version = "" if known is None else str(known["metadata"].get("resourceVersion", ""))
        remembered = self._read.get(key)
        if known is not None and remembered is not None and remembered.version == version:
            return remembered.files
        self._read.pop(key, None)
        found = None if known is None else await self._cluster.get(key)
        if found is None:
            raise Waiting(
                "CodeNotFound",
                f"ConfigMap {key.name} of spec.code.configMapRef does not exist in namespace {key.namespace}.",
            )
        files = _decoded(key, found)
        self._read[key] = _Read(str(found["metadata"].get("resourceVersion", "")), files)
        return files


def scoring_code(entry_script: str, files: Mapping[str, str]) -> ScoringCode:
    """The code with the hash of its files: the same files are the same code wherever they came from."""
    return ScoringCode(entry_script, files, names.short_hash(dict(files)))


def _decoded(key: Key, config_map: Document) -> Mapping[str, str]:
    files = dict(config_map.get("data") or {})
    for name, value in (config_map.get("binaryData") or {}).items():
        try:
            files[name] = base64.b64decode(value, validate=True).decode()
        except ValueError as error:
            raise Stalled(
                "CodeInvalid",
                f"Key {name} of ConfigMap {key.name} is not UTF-8 text: a model or other binary file belongs into"
                " spec.models, where it is registered and verified.",
            ) from error
    return files


def _absent(key: Key, code: Code, files: Mapping[str, str]) -> str:
    there = sorted(files)
    shown = ", ".join(there[:KEYS_SHOWN]) + (f" and {len(there) - KEYS_SHOWN} more" if len(there) > KEYS_SHOWN else "")
    return (
        f"ConfigMap {key.name} has no key {code.entry_script}, which spec.code.entryScript names;"
        f" its keys are: {shown or 'none'}."
    )
