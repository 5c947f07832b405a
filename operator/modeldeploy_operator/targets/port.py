"""What a target must offer, and what the reconciler may rely on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core.documents import Document, Key, Kind
from modeldeploy_operator.core.facts import Assessment, Observed, Wish


class Renderer(Protocol):
    """The pure half of a target."""

    def desired(self, deployment: ModelDeployment, wish: Wish) -> tuple[Document, ...]:
        """Every document the deployment should have, complete, in the order in which they are applied."""

    def assess(
        self, deployment: ModelDeployment, desired: Sequence[Document] | None, observed: Observed, now: str
    ) -> Assessment:
        """What the observed children amount to. `desired` is None where a step before rendering failed."""


class Port(Protocol):
    """The half of a target that does I/O. Every method raises only ReconcileError, bugs aside."""

    managed_kinds: tuple[Kind, ...]
    """The kinds that are rendered, and so may be deleted where they are not desired any more."""

    def observe(self, deployment: ModelDeployment) -> Observed:
        """The children as a watch-fed cache has them: no call is made. Absence of a key means: not there."""

    async def apply(self, document: Document) -> None:
        """Bring one observed child to the document. May be repeated. Takes effect in a later observe."""

    async def create(self, document: Document) -> None:
        """Bring about a child that was not observed. May be repeated.

        Stalled("NameTaken") where the name belongs to somebody else, whose object stays as it is.
        """

    async def scale(self, key: Key, replicas: int) -> None:
        """Set spec.replicas of one Deployment by a merge patch (decision 0006). May be repeated."""

    async def delete(self, key: Key) -> None:
        """Remove one object; one that is gone already is a success."""
