"""Digests are those of `sha256sum`, whatever the order in which files are met."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_server import digest
from scoring_server.source_errors import SourceError

_NAME = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=8)
_PATH = st.lists(_NAME, min_size=1, max_size=3).map("/".join)
_FILES = st.dictionaries(_PATH, st.binary(max_size=20), min_size=1, max_size=6)


@given(st.binary(max_size=5000))
def test_a_stream_has_the_digest_of_its_bytes_and_passes_them_all_on(content):
    seen = io.BytesIO()
    assert digest.of_stream(io.BytesIO(content), seen.write) == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert seen.getvalue() == content


@given(_FILES, st.randoms())
def test_the_digest_of_a_folder_does_not_depend_on_the_order_of_its_files(files, random):
    entries = [(path, digest.of_stream(io.BytesIO(content))) for path, content in files.items()]
    expected = digest.of_folder(entries)
    random.shuffle(entries)
    assert digest.of_folder(entries) == expected


@given(_FILES, st.data())
def test_the_digest_of_a_folder_depends_on_every_name_and_every_byte(files, data):
    def of(tree):
        return digest.of_folder((path, digest.of_stream(io.BytesIO(content))) for path, content in tree.items())

    path = data.draw(st.sampled_from(sorted(files)))
    other = dict(files)
    other[path] = files[path] + b"\0"
    renamed = {(f"{name}x" if name == path else name): content for name, content in files.items()}
    assert of(other) != of(files)
    assert renamed.keys() == files.keys() or of(renamed) != of(files)


@given(st.binary(min_size=32, max_size=32), st.booleans(), st.booleans())
def test_a_digest_is_read_in_every_way_people_write_it(raw, is_upper, has_prefix):
    text = raw.hex().upper() if is_upper else raw.hex()
    assert digest.parse(f"sha256:{text}" if has_prefix else f" {text}\n") == f"sha256:{raw.hex()}"


@given(st.text(max_size=80))
def test_no_other_text_passes_for_a_digest(text):
    bare = text.strip().lower().removeprefix("sha256:")
    is_digest = len(bare) == 64 and set(bare) <= set("0123456789abcdef")
    if not is_digest:
        with pytest.raises(SourceError):
            digest.parse(text)


def test_a_tree_on_disk_has_the_digest_of_its_files(tmp_path):
    (tmp_path / "m/deep").mkdir(parents=True)
    (tmp_path / "m/deep/a").write_bytes(b"1")
    (tmp_path / "m/b").write_bytes(b"2")
    assert digest.of_tree(tmp_path / "m") == digest.of_folder(
        [("b", digest.of_file(tmp_path / "m/b")), ("deep/a", digest.of_file(tmp_path / "m/deep/a"))]
    )
    assert digest.of_tree(tmp_path / "m/b") == digest.of_file(tmp_path / "m/b")


def test_reading_stops_at_the_limit():
    within = digest.Counted(io.BytesIO(b"12345"), 5, "pvc://c/m")
    assert (within.read(9), within.count) == (b"12345", 5)
    with pytest.raises(SourceError, match=r"pvc://c/m has more bytes than SCORING_SOURCE_MAX_BYTES allows\."):
        digest.Counted(io.BytesIO(b"123456"), 5, "pvc://c/m").read(9)
