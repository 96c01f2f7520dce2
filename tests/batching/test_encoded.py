from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fromzero.batching.encoded import EncodedExamples, Example, write_examples

ROW = st.fixed_dictionaries(
    {"input_ids": st.lists(st.integers(0, 2**31)), "label": st.integers(0, 9), "source": st.text()}
)


@given(st.lists(ROW, min_size=1, max_size=20))
def test_what_was_written_is_what_is_read(rows: list[Example]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_examples(Path(folder) / "train.arrow", rows)
        read = EncodedExamples(Path(folder) / "train.arrow")
        assert list(read) == rows and len(read) == len(rows)
        assert read[-1] == rows[-1] and read[1:3] == rows[1:3]
        assert read.lengths == [len(row["input_ids"]) for row in rows]
