"""Model versions as ModelVersion objects of the cluster, registered by short-lived pods (decision 0002)."""

from .adapter import ClusterRegistry

__all__ = ["ClusterRegistry"]
