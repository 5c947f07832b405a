"""What a kubelet needs of the machine and leaves on it: network, mounts, control groups, pods' processes.

Everything that is changed outside the instance's directory is changed here and undone here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from devcluster import configuration, iptables, mounts, prerequisites, process, settings
from devcluster.configuration import Machine
from devcluster.errors import DevclusterError
from devcluster.layout import Layout
from devcluster.progress import Progress
from devcluster.settings import Settings

CGROUPS = Path("/sys/fs/cgroup")
CAP_SYS_RESOURCE = 24
NEEDED_SYSCTLS = {"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1"}
# Set by the kubelet and by kube-proxy; noted before they start, and put back by `down`.
CHANGED_SYSCTLS = (
    *NEEDED_SYSCTLS,
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "net/ipv4/conf/all/route_localnet",
)


def require_root() -> None:
    if os.geteuid() != 0:
        raise DevclusterError(
            "A cluster that runs pods needs root: run it with sudo, or take --control-plane-only, which needs none."
        )


def machine(current: Settings) -> Machine:
    resolv_conf = Path("/run/systemd/resolve/resolv.conf")
    if not resolv_conf.exists():
        resolv_conf = Path("/etc/resolv.conf")
    text = resolv_conf.read_text() if resolv_conf.exists() else ""
    return Machine(
        snapshotter="overlayfs" if overlay_works(current.layout.root) else "native",
        may_lower_oom_score=has_capability(Path("/proc/self/status").read_text(), CAP_SYS_RESOURCE),
        cni_plugins=Path("/usr/lib/cni"),
        resolv_conf=resolv_conf,
        nameservers=configuration.nameservers(text),
    )


def has_capability(proc_status: str, number: int) -> bool:
    for line in proc_status.splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def overlay_works(directory: Path) -> bool:
    """Tried and not guessed: it depends on the file system below, on the kernel and on our rights."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="overlay-") as name:
        trial = Path(name)
        for part in ("lower", "upper", "work", "merged"):
            (trial / part).mkdir()
        options = f"lowerdir={trial}/lower,upperdir={trial}/upper,workdir={trial}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(trial / "merged")]
        works = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        mounts.unmount_below(trial)
    return works


def refuse_foreign_node() -> None:
    """A machine that is a node already, and not by a devcluster, is not to be touched."""
    if iptables.has_foreign_node(_run(["iptables-save"])):
        raise DevclusterError(
            "This machine is already a Kubernetes node (iptables has kube-proxy's chains), and a second one would "
            "break its rules. Use that cluster through KUBECONFIG, or take --control-plane-only here."
        )


def prepare_network(current: Settings) -> None:
    """Forwarding between pods, host and world. May be called again and then changes nothing."""
    if not Path("/proc/sys/net/bridge").exists():
        subprocess.run(["modprobe", "br_netfilter"], env=_environment(), capture_output=True, check=False)
    if not Path("/proc/sys/net/bridge").exists():
        raise DevclusterError("The kernel module br_netfilter is missing; Services would not work between pods.")
    _note_sysctls(current.layout)
    for name, value in NEEDED_SYSCTLS.items():
        Path("/proc/sys", name).write_text(value)
    if f":{iptables.FILTER_CHAIN} " not in _run(["iptables-save"]):
        _run(
            ["iptables-restore", "--noflush"],
            iptables.setup(settings.BRIDGE, settings.CLUSTER_CIDR, settings.SERVICE_CIDR),
        )


def end_pods(current: Settings, progress: Progress) -> None:
    """Kills every pod's processes; containerd, which still runs, then ends their shims by itself."""
    socket = str(current.layout.containerd_socket)
    with progress.part("pods ended"):
        process.wait_until(lambda: not _kill_pods(), 10)
        process.wait_until(lambda: not _shims(socket), 10)


def clean(place: Layout) -> None:
    """After the last component has stopped: nothing of it may remain on the machine."""
    _kill_pods()
    for shim in _shims(str(place.containerd_socket)):
        process.end(shim, 0.5)
    for directory in place.directories:
        mounts.unmount_below(directory)
    clean_cgroups()
    clean_network()
    _remove_container_logs(place)
    _restore_sysctls(place)


def clean_network() -> None:
    if Path("/sys/class/net", settings.BRIDGE).exists():
        _run(["ip", "link", "delete", settings.BRIDGE])
    for family in ("iptables", "ip6tables"):
        if shutil.which(f"{family}-save", path=prerequisites.SYSTEM_PATH):
            removal = iptables.removal(_run([f"{family}-save"]))
            if removal:
                _run([f"{family}-restore", "--noflush"], removal)
    for path in cni_results(Path("/var/lib/cni/results")):
        path.unlink(missing_ok=True)


def cni_results(directory: Path) -> list[Path]:
    """containerd's record of each sandbox's network; of those killed at once it is not removed."""
    ours = sorted(directory.glob(f"{settings.NETWORK}-*-eth0"))
    sandboxes = [path.name.removeprefix(f"{settings.NETWORK}-").removesuffix("-eth0") for path in ours]
    return [*ours, *(directory / f"cni-loopback-{sandbox}-lo" for sandbox in sandboxes)]


def pod_cgroups(root: Path) -> list[Path]:
    """Every group below kubepods, children first; cgroup v1 has one such tree for each controller."""
    tops = [path for path in (root / "kubepods", *root.glob("*/kubepods")) if path.is_dir() and not path.is_symlink()]
    found = [Path(where) for top in tops for where, _, _ in os.walk(top, topdown=False)]
    return list(dict.fromkeys(found))


def clean_cgroups() -> None:
    def removed() -> bool:
        for group in pod_cgroups(CGROUPS):
            try:
                group.rmdir()
            except OSError:
                # Busy until the kernel has buried the last process of it.
                return False
        return True

    if not process.wait_until(removed, 10):
        raise DevclusterError(f"Control groups of pods are still busy below {CGROUPS}.")


def _kill_pods() -> bool:
    """Kills what is in the pods' control groups; whether there was anything."""
    found = False
    for group in pod_cgroups(CGROUPS):
        try:
            pids = (group / "cgroup.procs").read_text().split()
        except OSError:
            continue
        for pid in pids:
            found = True
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
    return found


def _shims(socket: str) -> list[process.Identity]:
    """A shim has `-address SOCKET` among its arguments; containerd itself has not."""
    return process.matching(lambda arguments: socket in arguments)


def _remove_container_logs(place: Layout) -> None:
    """The kubelet links each log into a directory that it lets nobody choose."""
    directory = Path("/var/log/containers")
    for link in directory.iterdir() if directory.is_dir() else ():
        if link.is_symlink() and Path(os.readlink(link)).is_relative_to(place.pod_logs):
            link.unlink()


def _note_sysctls(place: Layout) -> None:
    noted = place.config / "sysctls.json"
    if noted.exists():
        return
    files = {name: Path("/proc/sys", name) for name in CHANGED_SYSCTLS}
    noted.write_text(json.dumps({name: file.read_text().strip() for name, file in files.items() if file.exists()}))


def _restore_sysctls(place: Layout) -> None:
    noted = place.config / "sysctls.json"
    if not noted.exists():
        return
    for name, value in json.loads(noted.read_text()).items():
        file = Path("/proc/sys", name)
        if file.exists() and file.read_text().strip() != value:
            file.write_text(value)


def _environment() -> dict[str, str]:
    return {"PATH": prerequisites.SYSTEM_PATH}


def _run(command: Sequence[str], given: str = "") -> str:
    result = subprocess.run(command, input=given, env=_environment(), capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"`{' '.join(command)}` failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout
