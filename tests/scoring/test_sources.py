"""A URI either names a source that stays in its place, or is refused with how to write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_server import sources
from scoring_server.source_errors import SourceError
from scoring_server.sources import HttpSource, Options, VolumeSource


@pytest.mark.parametrize(
    ("uri", "source", "local_name"),
    [
        ("pvc://claim/m.onnx", VolumeSource("pvc", "claim", ("m.onnx",)), "m.onnx"),
        ("PVC://claim/a/b/", VolumeSource("pvc", "claim", ("a", "b")), "b"),
        ("pvc://claim//a/./b%20c", VolumeSource("pvc", "claim", ("a", "b c")), "b c"),
        ("pvc://claim", VolumeSource("pvc", "claim", ()), ""),
        ("configmap://my.map/score-1.onnx", VolumeSource("configmap", "my.map", ("score-1.onnx",)), "score-1.onnx"),
    ],
)
def test_a_volume_is_taken_apart(uri, source, local_name):
    assert sources.parse(uri) == source
    assert source.local_name == local_name


def test_a_file_of_the_network_has_the_last_name_of_its_path():
    source = sources.parse("https://host.example/models/my%20model.onnx?sig=/evil#part")
    assert isinstance(source, HttpSource)
    assert (str(source), source.local_name) == ("https://host.example/models/my%20model.onnx", "my model.onnx")
    assert source.location.target == "/models/my%20model.onnx?sig=/evil"


@pytest.mark.parametrize(
    ("uri", "reason", "sentence"),
    [
        (
            "model.onnx",
            "SourceRefused",
            "The URI has no scheme; write https://host/path/file, pvc://claim/path or configmap://name/key.",
        ),
        (
            "file:///etc/passwd",
            "SourceRefused",
            "The scheme 'file' is not known; write https://host/path/file, pvc://claim/path or configmap://name/key.",
        ),
        ("pvc://claim/../other", "SourceRefused", "The path of pvc://claim holds '..'; write it without."),
        ("pvc://claim/%2e%2e/other", "SourceRefused", "The path of pvc://claim holds '..'; write it without."),
        (
            "pvc://claim/a%2fb",
            "SourceInvalid",
            "The path of pvc://claim holds 'a/b'; write pvc://<claim>/<file or folder>.",
        ),
        (
            "pvc://claim/a%00",
            "SourceInvalid",
            "The path of pvc://claim holds 'a\\x00'; write pvc://<claim>/<file or folder>.",
        ),
        (
            "pvc://../m",
            "SourceInvalid",
            "'..' is not the name of an object in Kubernetes; write pvc://<claim>/<file or folder>.",
        ),
        (
            "pvc:///m",
            "SourceInvalid",
            "'' is not the name of an object in Kubernetes; write pvc://<claim>/<file or folder>.",
        ),
        (
            "configmap://Name/key",
            "SourceInvalid",
            "'Name' is not the name of an object in Kubernetes; write configmap://<name>/<key>.",
        ),
        ("configmap://name", "SourceInvalid", "configmap://name needs one key; write configmap://<name>/<key>."),
        ("configmap://name/a/b", "SourceInvalid", "configmap://name needs one key; write configmap://<name>/<key>."),
        (
            "https://host.example/",
            "SourceInvalid",
            "https://host.example/ does not end in the name of a file; write https://host/path/file.onnx.",
        ),
        (
            "https://host.example/a%2f..%2fb",
            "SourceInvalid",
            "https://host.example/a%2f..%2fb does not end in the name of a file; write https://host/path/file.onnx.",
        ),
        (
            "https://host.example/..",
            "SourceInvalid",
            "https://host.example/.. does not end in the name of a file; write https://host/path/file.onnx.",
        ),
        (
            "https://host.example:port/m",
            "SourceInvalid",
            "The URI's host or port cannot be read; write https://host[:port]/path.",
        ),
        (
            "https://host.example/a b",
            "SourceInvalid",
            "The URI holds a space, a backslash or a control character; write them percent-encoded (%20, %5C).",
        ),
        (
            f"https://host.example/{'m' * 9000}",
            "SourceInvalid",
            "The URI has 9021 characters; at most 8192 are read.",
        ),
    ],
)
def test_what_cannot_be_a_source_is_refused_with_how_to_write_it(uri, reason, sentence):
    with pytest.raises(SourceError) as caught:
        sources.parse(uri)
    assert (caught.value.reason, caught.value.message) == (reason, sentence)


_HOSTILE = st.text(st.sampled_from("ab./%2eEfF0\0\\:@?#~\n é"), max_size=30)


@given(st.sampled_from(["pvc://", "configmap://", "http://", "https://h/", "pvc://c/", "configmap://c/", ""]), _HOSTILE)
def test_every_source_that_is_accepted_stays_in_its_folder(scheme, text):
    refusals = set()
    try:
        source = sources.parse(scheme + text)
    except SourceError as error:
        refusals.add(error.reason)
    else:
        segments = source.path if isinstance(source, VolumeSource) else (source.local_name,)
        assert not {"", ".", ".."} & set(segments)
        assert not any("/" in segment or "\0" in segment for segment in segments)
        assert not isinstance(source, VolumeSource) or source.volume not in ("", ".", "..")
    assert refusals <= {"SourceInvalid", "SourceRefused"}


def test_the_options_have_the_defaults_of_the_contract():
    options = Options.from_environ({})
    assert options == Options()
    assert (options.attempts, options.backoff_seconds, options.timeout_seconds) == (4, 1, 30)
    assert (options.max_bytes, options.max_files) == (50 << 30, 10_000)
    assert (str(options.sources_root), str(options.models_root)) == ("/sources", "/models")
