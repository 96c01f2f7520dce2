from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora.document import Document
from fromzero.corpora.splitting import SPLITS, Group, cut_tail, split_by_hash, split_groups
from fromzero.errors import UserError

GROUPS = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.builds(Group, st.sampled_from(["", "a", "b", "c"]), st.integers(1, 10**6), st.integers(1, 50)),
    min_size=3,
    max_size=40,
)


@given(GROUPS, st.integers())
def test_every_stratum_of_three_groups_is_in_every_split(groups: dict[str, Group], seed: int) -> None:
    chosen = split_groups(groups, validation=0.1, test=0.1, seed=seed)
    assert chosen.keys() == groups.keys()
    assert set(chosen.values()) == set(SPLITS)
    for stratum in ("a", "b", "c"):
        members = [name for name, group in groups.items() if group.stratum == stratum]
        if len(members) >= 3:
            assert {chosen[name] for name in members} == set(SPLITS)


@given(GROUPS, st.data())
def test_the_split_does_not_depend_on_the_order(groups: dict[str, Group], data: st.DataObject) -> None:
    shuffled = dict(data.draw(st.permutations(list(groups.items()))))
    options = {"validation": 0.1, "test": 0.1, "seed": 0}
    assert split_groups(shuffled, **options) == split_groups(groups, **options)


@given(GROUPS, st.data())
def test_linked_groups_are_never_apart(groups: dict[str, Group], data: st.DataObject) -> None:
    names = st.sampled_from(sorted(groups))
    links = data.draw(st.lists(st.tuples(names, names), max_size=10))
    try:
        chosen = split_groups(groups, links, validation=0.1, test=0.1, seed=0)
    except UserError:
        return  # so many links that too few groups are left
    assert all(chosen[one] == chosen[other] for one, other in links)


def test_groups_are_linked_by_way_of_one_that_is_gone() -> None:
    groups = {name: Group("", 1, 1) for name in "abcdefgh"}
    for seed in range(20):
        chosen = split_groups(groups, [("a", "gone"), ("gone", "h")], validation=0.1, test=0.1, seed=seed)
        assert chosen["a"] == chosen["h"]
        assert "gone" not in chosen


def test_sizes_approach_the_fractions() -> None:
    groups = {f"{number}": Group("", 1000 + number % 7 * 500, 1 + number % 3) for number in range(300)}
    chosen = split_groups(groups, validation=0.1, test=0.2, seed=0)
    sizes = Counter[str]()
    for name, group in groups.items():
        sizes[chosen[name]] += group.size
    assert sizes["validation"] / sizes.total() == pytest.approx(0.1, abs=0.01)
    assert sizes["test"] / sizes.total() == pytest.approx(0.2, abs=0.01)


def test_a_small_stratum_is_even_in_documents_too() -> None:
    groups = {name: Group("", 100, count) for name, count in zip("abcd", (25, 49, 25, 1), strict=True)}
    for seed in range(5):
        chosen = split_groups(groups, validation=0.25, test=0.25, seed=seed)
        assert {name for name, split in chosen.items() if split == "train"} == {"b", "d"}


def test_another_seed_is_another_split() -> None:
    groups = {f"{number}": Group("", 1000, 1) for number in range(100)}
    splits = [split_groups(groups, validation=0.1, test=0.1, seed=seed) for seed in (0, 1)]
    assert splits[0] != splits[1]


def test_without_a_test_share_two_groups_are_enough() -> None:
    chosen = split_groups({"a": Group("", 9, 1), "b": Group("", 1, 1)}, validation=0.1, test=0, seed=0)
    assert chosen == {"a": "train", "b": "validation"}


def test_too_few_groups_are_refused_with_the_way_out() -> None:
    groups = {"a": Group("", 1, 1), "b": Group("", 1, 1)}
    with pytest.raises(UserError, match=r"2 separate files or modules.*prepare\.split\.by=tail"):
        split_groups(groups, validation=0.1, test=0.1, seed=0)


@given(st.text(min_size=1), st.floats(0.01, 0.5), st.floats(0, 0.4))
def test_the_parts_of_a_cut_text_make_the_text_again(text: str, validation: float, test: float) -> None:
    parts = dict(cut_tail(Document("a", "a", "", "text", "a", text), validation=validation, test=test))
    assert "".join(parts[split].text for split in SPLITS if split in parts) == text
    assert len({part.id for part in parts.values()}) == len(parts)


def test_a_text_is_cut_as_nanogpt_cuts_shakespeare() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 1115)))
    document = Document("a", "a", "", "text", "a", text)
    parts = {split: part.text for split, part in cut_tail(document, validation=0.1, test=0)}
    assert parts == {"train": text[: int(1115 * 0.9)], "validation": text[int(1115 * 0.9) :]}


def test_by_hash_a_group_stays_where_it_is_when_others_come() -> None:
    names = [f"g{number}" for number in range(4000)]
    options = {"validation": 0.1, "test": 0.2, "seed": 0}
    few, many = split_by_hash(names[:1000], **options), split_by_hash(names, **options)
    assert all(many[name] == split for name, split in few.items())
    shares = Counter(many.values())
    assert abs(shares["test"] / 4000 - 0.2) < 0.03 and abs(shares["validation"] / 4000 - 0.1) < 0.02
    assert split_by_hash(names, **{**options, "seed": 1}) != many


def test_by_hash_linked_groups_are_never_apart() -> None:
    names = [f"g{number}" for number in range(100)]
    chosen = split_by_hash(
        names, [("g0", f"g{number}") for number in range(1, 50)], validation=0.3, test=0.3, seed=0
    )
    assert len({chosen[f"g{number}"] for number in range(50)}) == 1
    assert len(set(chosen.values())) == 3
