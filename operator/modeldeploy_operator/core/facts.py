"""What a pass has found out, as frozen values: the only input of decide, assess and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from modeldeploy_operator.api.v1alpha1 import ModelFormat
from modeldeploy_operator.core.documents import Document, Key
from modeldeploy_operator.errors import ReconcileError

Observed = Mapping[Key, Document]
"""The children of one owner as the watch-fed cache has them, pods and ReplicaSets included."""


@dataclass(frozen=True)
class ResolvedModel:
    """A model of the spec with the version that its bytes have.

    `request` is the fingerprint of what was asked (the spec's entry and the refresh annotation): as long as it
    stands in status with the same value, the source is not read again (decision 0003).
    """

    name: str
    version: int
    digest: str
    uri: str
    format: ModelFormat
    request: str


@dataclass(frozen=True)
class Credentials:
    """The keys Secret of a deployment. Fingerprints are the first 12 hex digits of each key's SHA-256.

    `owned` is false for a Secret that was there before: it is adopted, never overwritten or deleted.
    `primary` and `secondary` are filled only where spec.auth.publishKeysInStatus asks for them.
    """

    secret_name: str
    secret_uid: str
    primary_fingerprint: str
    secondary_fingerprint: str
    owned: bool
    primary: str | None = field(default=None, repr=False)
    secondary: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ScoringCode:
    """The script and the files beside it, by file name, and their content hash (10 hex digits)."""

    entry_script: str
    files: Mapping[str, str] = field(repr=False)
    digest: str


@dataclass(frozen=True)
class Images:
    """The scoring images that the operator picks from, as references, and how they are pulled.

    `source_rules`: what the administrator settled on where models may come from, as environment variables of the
    containers that read sources; empty where the image's own rules hold.
    """

    lean: str
    sklearn: str
    pull_policy: str
    source_rules: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wish:
    """Everything that rendering needs beyond the deployment itself. Complete, or not made at all."""

    models: tuple[ResolvedModel, ...]
    credentials: Credentials | None
    code: ScoringCode | None
    images: Images


@dataclass(frozen=True)
class Failure:
    """The newest failure that a user should see: their own exception where there is one."""

    phase: str
    reason: str
    message: str
    at: str
    pod: str | None = None
    exit_code: int | None = None
    exception: str | None = None
    script: str | None = None
    line: int | None = None


@dataclass(frozen=True)
class Assessment:
    """What the target makes of the observed children.

    `available`: some revision takes requests. `complete`: the desired revision is rolled out and nothing else runs.
    `problem`: why it is not complete (Stalled, Waiting or Unavailable), None when complete.
    `recheck_after`: seconds after which to look again, where time alone changes the judgement; None where events do.
    """

    available: bool
    complete: bool
    problem: ReconcileError | None
    serving_revision: str | None
    desired_revision: str | None
    replicas: int
    ready_replicas: int
    selector: str
    endpoint: Mapping[str, str | int]
    failure: Failure | None = None
    recheck_after: float | None = None


@dataclass(frozen=True)
class Facts:
    """All of one pass. An error in place of a value means that the step could not be taken."""

    models: tuple[ResolvedModel, ...] | ReconcileError
    credentials: Credentials | ReconcileError | None
    code: ScoringCode | ReconcileError | None
    assessment: Assessment
    action_problem: ReconcileError | None = None
    registration_failure: Failure | None = None
