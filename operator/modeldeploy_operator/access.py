"""How the operator reaches the API server and proves who it is: by KUBECONFIG if set, else by its service account."""

from __future__ import annotations

import os
from collections.abc import Mapping

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import incluster_config, kube_config


async def configuration(environment: Mapping[str, str] = os.environ) -> Configuration:
    """Host, authority and credentials as they are on disk now."""
    found = Configuration()
    if path := environment.get("KUBECONFIG"):
        await kube_config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=path, context=environment.get("KUBE_CONTEXT"), client_configuration=found, persist_config=False
        )
    else:
        incluster_config.load_incluster_config(client_configuration=found)  # type: ignore[no-untyped-call]
    found.connection_pool_maxsize = 0  # watches stay open; calls are limited where they are made
    return found


async def session(found: Configuration, *, connections: int) -> aiohttp.ClientSession:
    """A session of aiohttp's own, for a library that brings its own client."""
    token = await found.get_api_key_with_prefix("BearerToken")
    connector = aiohttp.TCPConnector(limit=connections, ssl=RESTClientObject(found).ssl_context)
    headers = {"Authorization": token} if token else {}
    return aiohttp.ClientSession(connector=connector, headers=headers, trust_env=True)
