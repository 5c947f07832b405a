"""How the operator reaches the API server and proves who it is: by KUBECONFIG if set, else by its service account."""

from __future__ import annotations

import os
from collections.abc import Mapping

from aiohttp import ClientSession, DummyCookieJar, TCPConnector
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
    return found


def session(found: Configuration, *, connections: int = 0, headers: Mapping[str, str] | None = None) -> ClientSession:
    """A pool of connections that trusts the cluster's authority and shows the client certificate, if there is one.

    Without a number of `connections` there is no limit: watches stay open, and calls are limited where they are made.
    """
    return ClientSession(
        connector=TCPConnector(limit=connections, ssl=RESTClientObject(found).ssl_context),
        headers=headers,
        # Proxies come with the configuration; asking the environment would cost a thread's turn at each request.
        trust_env=False,
        cookie_jar=DummyCookieJar(),
    )


async def bearer(found: Configuration) -> dict[str, str]:
    """The header that proves who we are; empty where a certificate does."""
    token = await found.get_api_key_with_prefix("BearerToken", alias="authorization")
    return {"Authorization": token} if token else {}
