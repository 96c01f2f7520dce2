from __future__ import annotations

import pytest

from fromzero.tasks.neighbours import CODE_TOKEN, nearest_neighbours

SCRIPTS = {
    "Latin": (["a red car", "the blue house", "an old tree"], ["blue houses, the", "old tree"]),
    "Chinese": (["红色的汽车", "蓝色房子", "老树"], ["蓝色的房子", "树"]),
    "Russian": (["красная машина", "синий дом", "старое дерево"], ["синий", "дерево"]),
}


@pytest.mark.parametrize("pattern", [{}, {"token_pattern": CODE_TOKEN}], ids=["words", "code"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_nearest_text_shares_most_words_in_any_script(script: str, pattern: dict[str, str]) -> None:
    train, test = SCRIPTS[script]
    assert nearest_neighbours(train, test, **pattern) == [1, 2]


def test_names_of_code_are_cut_at_underscores() -> None:
    train = ["def close():", "def readline_of(file):"]
    assert nearest_neighbours(train, ["def of_file(line):"], token_pattern=CODE_TOKEN) == [1]


def test_without_a_word_in_training_all_texts_are_alike() -> None:
    assert nearest_neighbours(["", "!"], ["a", "b"]) == [0, 0]
