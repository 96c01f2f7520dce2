"""A table that names files, as recordings or images, beside what is to be learnt of each."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from pathlib import Path

import pyarrow as pa

from fromzero.artifacts.manifest import digest_named
from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS
from fromzero.tasks.formats import split_slice
from fromzero.tasks.tables import Tables


class FileTable(Tables):
    """The first field of `columns` names files, by paths that start where the table lies.

    A table of Parquet, and a Hugging Face data set, may hold what stands in the files itself.
    """

    def fingerprint(self) -> str:
        return sha256(f"{super().fingerprint()}{self._digest_of_files()}".encode()).hexdigest()

    def read(self, optional: Collection[str] = (), numbers: Collection[str] = ()) -> pa.Table:
        """The first field is the content of a file as bytes, and `source` its path."""
        table = super().read(optional, numbers)
        if not self._names_files(table):
            return table
        paths = self._paths(table)
        content = pa.array([content_of(path) for path in paths], pa.binary())
        return _with(_with(table, self._field, content), "source", pa.array([str(path) for path in paths]))

    @property
    def _field(self) -> str:
        return next(iter(self.columns))

    def _names_files(self, table: pa.Table) -> bool:
        return self.dataset is None and pa.types.is_string(table.schema.field(self._field).type)

    def _digest_of_files(self) -> str:
        if self.dataset is not None:
            return ""
        table = super().read()
        paths = self._paths(table) if self._names_files(table) else []
        return digest_named((str(path), path) for path in paths if path.is_file())

    def _paths(self, table: pa.Table) -> list[Path]:
        folders = {
            split: split_slice(str(self.parts.get(split, self.parts["train"])))[0].parent for split in SPLITS
        }
        rows = table.select(["split", self._field]).to_pylist()
        return [folders[row["split"]] / row[self._field] for row in rows]


def content_of(file: Path) -> bytes:
    """Raises `UserError` where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror}): name a file that is there") from None


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)
