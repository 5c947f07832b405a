"""How a container's state is read, whichever pod it is in: the kubelet's words and our image's own account. Pure."""

from __future__ import annotations

import json
from typing import Any

NOT_PULLED = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
"""The kubelet's reasons for a container that waits because its image is not there."""


def account(termination_message: str) -> dict[str, Any]:
    """The JSON object that our image left; empty for the tail of a log or anything else."""
    try:
        value = json.loads(termination_message)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
