from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fromzero.corpora.deduplication import exact_keepers, near_keepers
from fromzero.corpora.document import Document

WORDS = [f"word{number}" for number in range(2000)]


def document(id: str, text: str, kind: str = "text") -> Document:
    return Document(id, id, "", kind, id, text)


def essay(seed: int, length: int = 300) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def test_equal_texts_have_one_keeper_and_kinds_are_not_compared() -> None:
    documents = [document("b", "same"), document("a", "same"), document("c", "same", "prose")]
    assert exact_keepers(documents) == [1, 1, 2]


def test_a_text_with_a_few_words_changed_is_a_near_duplicate() -> None:
    words = essay(0)
    changed = [*words[:100], "changed", *words[101:]]
    documents = [
        document("a", " ".join(words)),
        document("b", " ".join(changed)),
        document("c", " ".join(essay(1))),
    ]
    assert near_keepers(documents, 0.8) == [0, 0, 2]


def test_a_text_below_the_threshold_is_kept() -> None:
    words = essay(0)
    half = words[:200] + essay(1, 100)  # shares 196 of 396 shingles
    documents = [document("a", " ".join(words)), document("b", " ".join(half))]
    assert near_keepers(documents, 0.8) == [0, 1]


def test_near_duplicates_are_found_where_there_are_no_spaces() -> None:
    characters = [chr(0x4E00 + number) for number in random.Random(0).choices(range(3000), k=400)]
    changed = [*characters[:200], "改", *characters[201:]]
    other = [chr(0x4E00 + number) for number in random.Random(1).choices(range(3000), k=400)]
    documents = [
        document(str(number), "".join(text)) for number, text in enumerate((characters, changed, other))
    ]
    assert near_keepers(documents, 0.8) == [0, 0, 2]


def test_near_duplicates_of_another_kind_are_kept() -> None:
    text = " ".join(essay(0))
    assert near_keepers([document("a", text), document("b", text + " end", "prose")], 0.8) == [0, 1]


def test_short_texts_and_texts_without_words_are_not_taken_for_each_other() -> None:
    texts = ["one two three", "one two four", "!!!", "???", ""]
    documents = [document(str(number), text) for number, text in enumerate(texts)]
    assert near_keepers(documents, 0.8) == [0, 1, 2, 3, 4]


def test_nothing_has_no_keepers() -> None:
    assert exact_keepers([]) == near_keepers([], 0.8) == []


@given(st.randoms())
def test_who_is_kept_does_not_depend_on_the_order(shuffler: random.Random) -> None:
    texts = [" ".join([*essay(number // 3, 60), "end"][number % 3 :]) for number in range(12)]
    documents = [document(f"{number:02}", text) for number, text in enumerate(texts)]
    shuffler.shuffle(documents)
    kept = {documents[keeper].id for keeper in near_keepers(documents, 0.8)}
    assert kept == {"00", "03", "06", "09"}


def test_most_near_duplicates_are_found() -> None:
    rng = random.Random(0)
    documents = []
    for number in range(200):
        words = essay(number)
        changed = list(words)
        changed[rng.randrange(300)] = "changed"
        documents += [
            document(f"{number:03}a", " ".join(words)),
            document(f"{number:03}b", " ".join(changed)),
        ]
    dropped = sum(keeper != index for index, keeper in enumerate(near_keepers(documents, 0.8)))
    assert dropped >= 195
