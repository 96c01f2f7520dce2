"""Encoded examples in an Arrow file, mapped into memory: ranks share one copy, and none of them encodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc

Example = dict[str, Any]


def write_examples(file: Path, examples: Sequence[Example]) -> None:
    """One row an example; a list of numbers is one value."""
    table = pa.Table.from_pylist(list(examples))
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


class EncodedExamples(Sequence[Example]):
    """What `write_examples` wrote, read row by row as it is asked for."""

    def __init__(self, file: Path) -> None:
        self._table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()

    @property
    def lengths(self) -> list[int]:
        """Tokens of each example, or what it calls its `length`; 1 of what has neither."""
        if "input_ids" in self._table.column_names:
            lengths: list[int] = pc.list_value_length(self._table["input_ids"]).to_pylist()
        elif "length" in self._table.column_names:
            lengths = self._table["length"].to_pylist()
        else:
            lengths = [1] * len(self)
        return lengths

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        return {name: self._table[name][int(index)].as_py() for name in self._table.column_names}

    def __iter__(self) -> Iterator[Example]:
        return (self[row] for row in range(len(self)))
