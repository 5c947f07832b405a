"""What counts as the same: only what we send, with the API's defaults, quantities and keyed lists."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modeldeploy_operator.core import quantities
from modeldeploy_operator.core.comparison import difference, satisfied

from tests.operator.api_server import canonical


def _resources(**requests: str) -> dict[str, Any]:
    return {"resources": {"requests": requests}}


@pytest.mark.parametrize(
    ("desired", "observed", "where"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, None, id="a default of the API is not a difference"),
        pytest.param({"a": 1}, {"a": 2}, "a", id="another value is a difference"),
        pytest.param({"a": {"b": 1}}, {"a": {}}, "a.b", id="a missing field is a difference"),
        pytest.param({"a": False}, {}, "a", id="false is not the same as absent"),
        pytest.param({"a": True}, {"a": 1}, "a", id="true is not the number one"),
        pytest.param({"emptyDir": {}}, {"hostPath": {}}, "emptyDir", id="an empty object must be there"),
        pytest.param(_resources(cpu="0.5"), _resources(cpu="500m"), None, id="half a core is 500m"),
        pytest.param(_resources(memory="1024Mi"), _resources(memory="1Gi"), None, id="1024Mi is 1Gi"),
        pytest.param(
            _resources(memory="1G"), _resources(memory="1Gi"), "resources.requests.memory", id="1G is not 1Gi"
        ),
        pytest.param(
            {"data": {"limits": "1024Mi"}}, {"data": {"limits": "1Gi"}}, "data.limits", id="text is not a quantity"
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "0.5"}]},
            {"env": [{"name": "A", "value": "500m"}]},
            "env.0.value",
            id="a variable's value is text",
        ),
        pytest.param(
            {"containers": [{"name": "a"}]},
            {"containers": [{"name": "sidecar"}, {"name": "a"}]},
            None,
            id="a container that an injector added is not ours to remove",
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "B", "value": "1"}]},
            "env.0",
            id="a variable that is gone is a difference",
        ),
        pytest.param(
            {"ports": [{"containerPort": 1, "name": "x"}]},
            {"ports": [{"containerPort": 1, "name": "x", "protocol": "TCP"}]},
            None,
            id="a container port without protocol is TCP",
        ),
        pytest.param(
            {"ports": [{"port": 80, "targetPort": "http"}]},
            {"ports": [{"port": 81, "targetPort": "x"}, {"port": 80, "targetPort": "http", "protocol": "TCP"}]},
            None,
            id="service ports go by number",
        ),
        pytest.param({"command": ["a"]}, {"command": ["a", "b"]}, "command", id="a longer command is a difference"),
        pytest.param({"command": ["a", "b"]}, {"command": ["b", "a"]}, "command.0", id="the order of a command counts"),
        pytest.param(
            {"ingress": [{"ports": [{"port": 1, "protocol": "TCP"}]}]},
            {"ingress": [{"ports": [{"port": 1, "protocol": "TCP"}]}, {}]},
            "ingress",
            id="a rule added to a policy is a difference",
        ),
        pytest.param({"a": [1]}, {"a": "1"}, "a", id="a list is not text"),
        pytest.param({"a": {"b": 1}}, {"a": 1}, "a", id="an object is not a number"),
    ],
)
def test_a_difference_is_named_by_its_path(desired: object, observed: object, where: str | None) -> None:
    assert difference(desired, observed) == where
    assert satisfied(desired, observed) is (where is None)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("500m", Fraction(1, 2)),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        (2, Fraction(2)),
        ("1Ki", Fraction(1024)),
        ("1k", Fraction(1000)),
        ("2e3", Fraction(2000)),
        ("1E", Fraction(10**18)),
        ("-1", Fraction(-1)),
        ("", None),
        ("1KiB", None),
        (True, None),
        (None, None),
        ("Mi", None),
        ("1e9999999", None),
    ],
)
def test_a_quantity_is_a_number(text: object, number: Fraction | None) -> None:
    assert quantities.parse(text) == number


@given(number=st.integers(0, 10**6), suffix=st.sampled_from(["", "m", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_the_canonical_form_of_a_quantity_is_the_same_quantity(number: int, suffix: str) -> None:
    amount = f"{number}{suffix}"
    assert quantities.parse(amount) == quantities.parse(canonical(amount))


_json = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(_json)
def test_everything_satisfies_itself(document: object) -> None:
    assert satisfied(document, document)
