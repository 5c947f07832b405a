"""What the environment says: every setting of the operator, with its default. Read once, at start."""

from __future__ import annotations

import socket
import uuid
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _identity() -> str:
    """Unlike every other process: two on one host must not take each other's Lease for their own."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


class Settings(BaseSettings):
    """MODELDEPLOY_<NAME> in the environment."""

    model_config = SettingsConfigDict(env_prefix="MODELDEPLOY_", frozen=True, extra="ignore")

    image_lean: str = Field(min_length=1, description="Reference of the lean scoring image.")
    image_sklearn: str = Field(min_length=1, description="Reference of the scoring image with scikit-learn.")
    image_pull_policy: str = Field(default="IfNotPresent", pattern="^(Always|IfNotPresent|Never)$")
    namespace: str = Field(default="modeldeploy-system", min_length=1, description="Where the Lease lives.")
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(default=(), description="None given: all of them.")
    sources_allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Hosts that models may come from whatever their addresses are."
    )
    sources_deny_private: bool = Field(default=False, description="Refuse models from private addresses, too.")
    leader_election: bool = Field(default=True, description="Wait for the Lease before writing anything.")
    pod_name: str | None = Field(
        default=None, description="The operator's pod; a restarted container of it keeps the Lease without a wait."
    )
    health_port: int = Field(default=8080, ge=0, le=65535)
    metrics_port: int = Field(default=9090, ge=0, le=65535)
    workers: int = Field(default=16, ge=1, le=256)
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")

    @field_validator("watch_namespaces", "sources_allow_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    def source_rules(self) -> dict[str, str]:
        """The rules on sources as the scoring image's environment variables; what is not set is left to the image."""
        rules = {}
        if self.sources_allow_hosts:
            rules["SCORING_SOURCES_ALLOW_HOSTS"] = ",".join(self.sources_allow_hosts)
        if self.sources_deny_private:
            rules["SCORING_SOURCES_DENY_PRIVATE"] = "true"
        return rules

    def identity(self) -> str:
        """The holder's name in the Lease. A new one at each call, unless the pod's name is known."""
        return self.pod_name or _identity()
