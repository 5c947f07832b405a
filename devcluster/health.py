"""Whether a component answers. The addresses are components.py's."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request

from devcluster import process
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.layout import Layout


def answers(address: str) -> bool:
    """True for a 200 within two seconds, or for a unix socket that accepts."""
    if address.startswith("unix://"):
        return _accepts(address.removeprefix("unix://"))
    # Two of the components make themselves a certificate at each start; that somebody answers is all that is asked.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # Without proxies: on a machine that has one, it would be asked for 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(address, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def wait(component: Component, layout: Layout, seconds: float) -> None:
    """Until it answers; an error with its last log lines when it dies or takes longer."""
    pid_file = layout.pids / f"{component.name}.json"
    log = layout.logs / f"{component.name}.log"

    def settled() -> bool:
        return process.recorded(pid_file) is None or answers(component.health)

    if not process.wait_until(settled, seconds):
        raise DevclusterError(
            f"{component.name} does not answer at {component.health} after {seconds:.0f}s. "
            f"The end of its log, {log}:\n{process.last_lines(log, 15)}"
        )
    if process.recorded(pid_file) is None:
        raise DevclusterError(f"{component.name} died. The end of its log, {log}:\n{process.last_lines(log, 15)}")
