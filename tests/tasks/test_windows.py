from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fromzero.tasks.windows import last_subwords, place, windows


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2))
def test_every_token_is_where_it_is_said_to_be_with_half_a_window_before_it(
    length: int, room: int, before: int
) -> None:
    cut = windows(list(range(length)), room)
    width = before + room
    for token in range(length):
        window, column = divmod(place(token, room, width, before), width)
        assert cut[window][column - before] == token
        assert column - before >= min(token, room - max(room // 2, 1))


@given(st.integers(1, 60), st.integers(1, 20))
def test_no_window_is_empty_or_says_nothing_new(length: int, room: int) -> None:
    cut = windows(list(range(length)), room)
    assert all(0 < len(one) <= room for one in cut)
    assert len(cut) == 1 or cut[-2][-1] < cut[-1][-1] == length - 1


def test_the_last_subword_of_a_word_has_its_last_character() -> None:
    # "ab, cde f" cut as "ab" "," " c" "de" " f", and once without the last
    offsets = [(0, 2), (2, 3), (3, 5), (5, 7), (7, 9)]
    words, starts = ["ab", "cde", "f"], [0, 4, 8]
    assert last_subwords(offsets, words, starts) == [0, 3, 4]
    assert last_subwords(offsets[:-1], words, starts) == [0, 3, -1]
    assert place(-1, 10, 12, 1) == -1


def test_the_last_byte_of_the_last_character_ends_a_word() -> None:
    # "中 é", a token for each byte: those of one character stand at one place
    offsets = [(0, 1), (0, 1), (0, 1), (1, 2), (2, 3), (2, 3)]
    assert last_subwords(offsets, ["中", "é"], [0, 2]) == [2, 5]
