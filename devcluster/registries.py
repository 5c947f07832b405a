"""How a build inside a container reaches the machine's package registries: as the machine itself does.

Settings and certificates are mounted into the build and never become part of an image.
"""

from __future__ import annotations

import configparser
import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# Options that make sense inside a container; paths of this machine do not.
PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def build_options(directory: Path, environment: Mapping[str, str]) -> list[str]:
    """Options of `buildah bud`. The pip.conf is written into that directory, which must outlive the build.

    The Containerfiles mount the secret `pip-conf` in the steps that install.
    """
    pip = directory / "pip.conf"
    pip.write_text(pip_configuration(_pip_settings(environment)))
    options = [f"--build-arg={name}={environment[name]}" for name in PROXIES if name in environment]
    options.append(f"--secret=id=pip-conf,src={pip}")
    if CA_BUNDLE.exists():
        options.append(f"--volume={CA_BUNDLE}:{CA_BUNDLE}:ro")
    return options


def pip_configuration(settings: Mapping[str, str]) -> str:
    """A pip.conf from what `pip config list` says: keys like `global.index-url` and `:env:.index-url`."""
    parser = configparser.RawConfigParser()
    parser["global"] = {"cert": str(CA_BUNDLE), "disable-pip-version-check": "1"}
    for key, value in settings.items():
        option = key.rpartition(".")[2]
        if option in PIP_OPTIONS and key.startswith(("global.", "install.", ":env:.")):
            parser["global"][option.removeprefix("default-")] = value
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    for command in ([sys.executable, "-m", "pip"], ["pip"], ["pip3"]):
        try:
            result = subprocess.run(
                [*command, "config", "list"], env=dict(environment), capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            continue
        if result.returncode == 0:
            pairs = (line.split("=", 1) for line in result.stdout.splitlines() if "=" in line)
            return {key.strip(): value.strip().strip("'") for key, value in pairs}
    return {}
