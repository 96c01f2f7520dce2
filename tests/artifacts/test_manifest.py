from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.artifacts import Manifest
from fromzero.artifacts.manifest import FILE_NAME, digest_tree, origin_of

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
FILES = st.dictionaries(st.text(min_size=1), DIGESTS, max_size=6)
OPTIONS = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=4)


@given(FILES, st.data())
def test_the_digest_does_not_depend_on_the_order_of_the_files(
    files: dict[str, str], data: st.DataObject
) -> None:
    shuffled = dict(data.draw(st.permutations(list(files.items()))))
    assert Manifest("corpus", shuffled).digest == Manifest("corpus", files).digest


@given(FILES, FILES)
def test_equal_digests_mean_equal_content(one: dict[str, str], other: dict[str, str]) -> None:
    assert (Manifest("corpus", one).digest == Manifest("model", other).digest) == (one == other)


@given(OPTIONS, OPTIONS)
def test_the_origin_tells_options_apart(one: dict[str, object], other: dict[str, object]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (origin_of("model", {}, one) == origin_of("model", {}, other)) == same


@given(FILES, OPTIONS)
def test_a_manifest_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str], options: dict[str, object]
) -> None:
    folder = tmp_path_factory.mktemp("artifact")
    manifest = Manifest("corpus", files, {"raw": "ab"}, options, {"documents": 3}, {"python": "3"})
    manifest.write(folder)
    assert Manifest.read(folder) == manifest


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"digest": ""}', '{"digest": "", "extra": 1}'])
def test_what_is_no_manifest_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ValueError):
        Manifest.read(tmp_path)


def test_equal_trees_have_equal_digests_and_the_manifest_is_no_part_of_them(tmp_path: Path) -> None:
    for folder, names in [("one", ["a", "deep/b"]), ("two", ["deep/b", "a"])]:
        for name in names:
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
    (tmp_path / "two" / FILE_NAME).write_text("{}")
    trees = [digest_tree(tmp_path / folder) for folder in ("one", "two")]
    assert trees[0] == trees[1]
    assert list(trees[0]) == ["a", "deep/b"]
