"""Which iptables rules a devcluster needs, and which are to be removed after it. Pure: text in, text out.

The kubelet, kube-proxy and the portmap plugin make chains named KUBE-… and CNI-…; our own chains are named below.
"""

from __future__ import annotations

from collections import defaultdict

FILTER_CHAIN = "DEVCLUSTER-FORWARD"
NAT_CHAIN = "DEVCLUSTER-POSTROUTING"
PREFIXES = ("KUBE-", "CNI-", "DEVCLUSTER-")


def setup(bridge: str, cluster_cidr: str, service_cidr: str) -> str:
    """For `iptables-restore --noflush`: pods reach the host, each other and the world, whatever FORWARD's policy.

    A Service that kube-proxy has not programmed yet refuses connections. They would leave the machine otherwise, and
    where something out there answers for every address, a client takes its answer for the Service's.
    """
    return f"""\
*filter
:{FILTER_CHAIN} - [0:0]
-A {FILTER_CHAIN} -i {bridge} -d {service_cidr} -j REJECT
-A {FILTER_CHAIN} -i {bridge} -j ACCEPT
-A {FILTER_CHAIN} -o {bridge} -j ACCEPT
-I FORWARD 1 -j {FILTER_CHAIN}
-I INPUT 1 -i {bridge} -j ACCEPT -m comment --comment {FILTER_CHAIN}
COMMIT
*nat
:{NAT_CHAIN} - [0:0]
-A {NAT_CHAIN} -s {cluster_cidr} ! -d {cluster_cidr} ! -o {bridge} -j MASQUERADE
-A POSTROUTING -j {NAT_CHAIN}
COMMIT
"""


def ours(chain: str) -> bool:
    return chain.startswith(PREFIXES)


def has_foreign_node(saved: str) -> bool:
    """Whether kube-proxy or a kubelet has worked here; asked before we begin."""
    return any(line.startswith((":KUBE-SERVICES ", ":KUBE-KUBELET-CANARY ")) for line in saved.splitlines())


def removal(saved: str) -> str:
    """From `iptables-save` to what `iptables-restore --noflush` must be told to be rid of all of ours; may be empty."""
    chains: dict[str, list[str]] = defaultdict(list)
    rules: dict[str, list[str]] = defaultdict(list)
    table = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":") and ours(line[1:].split()[0]):
            chains[table].append(line[1:].split()[0])
        elif line.startswith("-A ") and not ours(line.split()[1]) and _concerns_us(line):
            rules[table].append("-D" + line[2:])
    blocks = []
    for name in sorted({*chains, *rules}):
        flush = [f"-F {chain}" for chain in chains[name]]
        remove = [f"-X {chain}" for chain in chains[name]]
        blocks.append("\n".join([f"*{name}", *flush, *rules[name], *remove, "COMMIT"]))
    return "\n".join(blocks) + "\n" if blocks else ""


def _concerns_us(rule: str) -> bool:
    words = [word.strip('"') for word in rule.split()]
    return any(ours(word) for word in words[2:])
