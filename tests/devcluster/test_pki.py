"""Certificates: who they name, whom they may serve, who signed them."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from devcluster import pki

NOW = datetime.datetime(2030, 5, 1, 12, 0, tzinfo=datetime.UTC)


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pki") / "keys"
    pki.write_all(target, "192.0.2.7", NOW)
    return target


@pytest.mark.parametrize(
    ("name", "user", "groups"),
    [
        pytest.param("admin", "devcluster-admin", ["system:masters"], id="the administrator"),
        pytest.param("kubelet", "system:node:devcluster", ["system:nodes"], id="the node, as the node authorizer asks"),
        pytest.param("kube-scheduler", "system:kube-scheduler", [], id="the scheduler"),
        pytest.param("kube-proxy", "system:kube-proxy", [], id="the proxy"),
    ],
)
def test_a_client_certificate_names_user_and_groups(directory: Path, name: str, user: str, groups: list[str]) -> None:
    subject = load(directory / f"{name}.crt").subject
    assert [one.value for one in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    assert [one.value for one in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == groups


def test_the_api_server_may_be_reached_by_node_address_loopback_and_service(directory: Path) -> None:
    extension = load(directory / "kube-apiserver.crt").extensions.get_extension_for_class(x509.SubjectAlternativeName)
    addresses = {str(one) for one in extension.value.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "192.0.2.7", "10.96.0.1"}
    assert {"kubernetes.default.svc", "kubernetes.default.svc.cluster.local"} <= set(
        extension.value.get_values_for_type(x509.DNSName)
    )


def test_every_leaf_is_signed_by_its_authority_and_none_is_an_authority(directory: Path) -> None:
    main, front_proxy = load(directory / "ca.crt"), load(directory / "front-proxy-ca.crt")
    leaves = [path for path in directory.glob("*.crt") if path.name not in ("ca.crt", "front-proxy-ca.crt")]
    assert len(leaves) == len(pki.CLIENTS) + len(pki.servers("192.0.2.7")) + 1
    for path in leaves:
        leaf = load(path)
        leaf.verify_directly_issued_by(front_proxy if path.name == "front-proxy-client.crt" else main)
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_front_proxy_certificate_is_not_one_of_the_main_authority(directory: Path) -> None:
    with pytest.raises(ValueError, match="Issuer"):
        load(directory / "front-proxy-client.crt").verify_directly_issued_by(load(directory / "ca.crt"))


def test_a_certificate_is_valid_before_now_and_for_years(directory: Path) -> None:
    certificate = load(directory / "admin.crt")
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc - datetime.timedelta(days=365)


def test_private_keys_are_readable_by_their_owner_alone(directory: Path) -> None:
    keys = list(directory.glob("*.key"))
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert len(keys) == len(list(directory.glob("*.crt"))) + 1


def test_two_clusters_share_no_key(directory: Path, tmp_path: Path) -> None:
    pki.write_all(tmp_path / "other", "192.0.2.7", NOW)
    assert (tmp_path / "other" / "ca.key").read_bytes() != (directory / "ca.key").read_bytes()


def test_a_kubeconfig_holds_everything_it_needs() -> None:
    issuer = pki.authority("devcluster", NOW)
    client = pki.issue(issuer, pki.Leaf("someone"), NOW)
    document = yaml.safe_load(pki.kubeconfig("https://192.0.2.7:6443", issuer, client))
    context = document["contexts"][0]["context"]
    assert document["current-context"] == document["contexts"][0]["name"]
    assert context["cluster"] == document["clusters"][0]["name"]
    assert context["user"] == document["users"][0]["name"]
    assert document["clusters"][0]["cluster"]["server"] == "https://192.0.2.7:6443"
    key = base64.b64decode(document["users"][0]["user"]["client-key-data"])
    assert (
        serialization.load_pem_private_key(key, None).public_key()
        == x509.load_pem_x509_certificate(
            base64.b64decode(document["users"][0]["user"]["client-certificate-data"])
        ).public_key()
    )


def test_an_address_is_served_as_an_address_and_a_name_as_a_name() -> None:
    pair = pki.issue(pki.authority("a", NOW), pki.Leaf("b", addresses=("192.0.2.7", "b.example")), NOW)
    names = x509.load_pem_x509_certificate(pair.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("192.0.2.7")]
    assert names.value.get_values_for_type(x509.DNSName) == ["b.example"]
