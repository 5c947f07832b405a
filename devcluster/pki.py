"""The cluster's certificates, made afresh for each cluster, and the kubeconfigs that hold them.

Two authorities: one signs servers and clients, the other only the aggregator's front-proxy client, because whoever
holds a certificate of that one may claim to be any user.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = datetime.timedelta(days=3650)


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pair(self) -> Pair:
        return Pair(certificate=_pem(self.certificate), key=_key_pem(self.key))


@dataclass(frozen=True)
class Leaf:
    """What a component's certificate says: who it is (user name and groups) and which addresses it serves."""

    name: str
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def authority(name: str, now: datetime.datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(subject, subject, key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate=certificate, key=key)


def issue(issuer: Authority, leaf: Leaf, now: datetime.datetime) -> Pair:
    """A certificate for servers and clients alike; with addresses it can be served under them."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in leaf.groups]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, leaf.name)])
    builder = (
        _builder(subject, issuer.certificate.subject, key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
            critical=False,
        )
    )
    if leaf.addresses:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_alternative(address) for address in leaf.addresses]), critical=False
        )
    return Pair(certificate=_pem(builder.sign(issuer.key, hashes.SHA256())), key=_key_pem(key))


def signing_key() -> tuple[bytes, bytes]:
    """Private and public PEM of the key that signs service account tokens."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _key_pem(key), public


def kubeconfig(server: str, issuer: Authority, client: Pair) -> str:
    """A kubeconfig with everything inside, so that the file alone can be copied."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "devcluster",
                "cluster": {"server": server, "certificate-authority-data": _base64(_pem(issuer.certificate))},
            }
        ],
        "users": [
            {
                "name": "devcluster",
                "user": {
                    "client-certificate-data": _base64(client.certificate),
                    "client-key-data": _base64(client.key),
                },
            }
        ],
        "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": "devcluster"}}],
        "current-context": "devcluster",
    }
    return yaml.safe_dump(document, sort_keys=False)


# The identity of each component, and the name of its file.
SERVICE_ADDRESSES = ("10.96.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
CLIENTS: dict[str, Leaf] = {
    "admin": Leaf("devcluster-admin", ("system:masters",)),
    "kube-controller-manager": Leaf("system:kube-controller-manager"),
    "kube-scheduler": Leaf("system:kube-scheduler"),
    "kubelet": Leaf("system:node:devcluster", ("system:nodes",)),
    "kube-proxy": Leaf("system:kube-proxy"),
    "coredns": Leaf("devcluster:coredns"),
    "metrics-server": Leaf("devcluster:metrics-server"),
    "kwok": Leaf("devcluster:kwok", ("system:masters",)),
    "kube-apiserver-kubelet-client": Leaf("devcluster-apiserver", ("system:masters",)),
    "etcd-client": Leaf("kube-apiserver"),
}


def servers(node_address: str) -> dict[str, Leaf]:
    local = ("127.0.0.1", "localhost", node_address)
    return {
        "kube-apiserver": Leaf("kube-apiserver", addresses=(*local, *SERVICE_ADDRESSES, *_cluster_name("kubernetes"))),
        "etcd": Leaf("etcd", addresses=local),
        "kubelet-server": Leaf("system:node:devcluster", ("system:nodes",), (*local, "devcluster")),
        "metrics-server-server": Leaf("metrics-server", addresses=(*local, "metrics-server.kube-system.svc")),
    }


def write_all(directory: Path, node_address: str, now: datetime.datetime) -> Authority:
    """Writes every key and certificate of a new cluster; returns the authority for the kubeconfigs."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    main = authority("devcluster", now)
    front_proxy = authority("devcluster-front-proxy", now)
    write_pair(directory, "ca", main.pair)
    write_pair(directory, "front-proxy-ca", front_proxy.pair)
    write_pair(directory, "front-proxy-client", issue(front_proxy, Leaf("front-proxy-client"), now))
    for name, leaf in {**CLIENTS, **servers(node_address)}.items():
        write_pair(directory, name, issue(main, leaf, now))
    private, public = signing_key()
    write_private(directory / "service-accounts.key", private)
    (directory / "service-accounts.pub").write_bytes(public)
    return main


def write_pair(directory: Path, name: str, pair: Pair) -> None:
    (directory / f"{name}.crt").write_bytes(pair.certificate)
    write_private(directory / f"{name}.key", pair.key)


def write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def read_pair(directory: Path, name: str) -> Pair:
    return Pair(certificate=(directory / f"{name}.crt").read_bytes(), key=(directory / f"{name}.key").read_bytes())


def _cluster_name(service: str) -> Sequence[str]:
    return (f"{service}.default.svc.cluster.local",)


def _alternative(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that was just put right must not make a fresh certificate one of the future.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
