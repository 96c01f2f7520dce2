"""Images with one label each: scikit-learn's digits, IDX files as of MNIST, a folder for each class."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fromzero.artifacts.manifest import digest_named
from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS
from fromzero.tasks.formats import split_slice
from fromzero.tasks.pixels import png
from fromzero.tasks.tables import hold_out

SCHEMA = pa.schema(
    [("image", pa.binary()), ("label", pa.string()), ("split", pa.string()), ("source", pa.string())]
)
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"}
"""Files that count as images in a folder."""

Row = dict[str, Any]


class Digits:
    """1,797 handwritten digits of 8×8 pixels: the test part of UCI's "Optical Recognition of Handwritten
    Digits".

    Parts go by position: the first 70 % train, 10 % validation, the last 20 % test. The file goes from
    writer to writer, so the test part is of other hands; a shuffled one would flatter.
    """

    def fingerprint(self) -> str:
        return ""

    def read(self) -> pa.Table:
        from PIL.Image import fromarray
        from sklearn.datasets import load_digits

        bundled = load_digits()
        grey = np.round(bundled.images * (255 / 16)).astype(np.uint8)  # they count 0 to 16
        total = len(grey)
        ends = [total * 7 // 10, total * 8 // 10]
        return table_of(
            {
                "image": png(fromarray(pixels)),
                "label": str(label),
                "split": SPLITS[int(np.searchsorted(ends, number, side="right"))],
                "source": f"sklearn.datasets.load_digits:{number}",
            }
            for number, (pixels, label) in enumerate(zip(grey, bundled.target, strict=True))
        )


class IdxFiles:
    """Files in MNIST's IDX format, `.gz` or not; labels stand beside them under MNIST's names."""

    def __init__(self, *, train: str, validation: str | None = None, test: str | None = None) -> None:
        """Each is a file of images, or a slice of it as in `train-images-idx3-ubyte.gz[:7000]`.

        A part for which none is named is cut out of the training part by the hash of the image.
        """
        named = {"train": train, "validation": validation, "test": test}
        self.parts = {split: part for split, part in named.items() if part}

    def fingerprint(self) -> str:
        images = sorted({split_slice(part)[0] for part in self.parts.values()})
        return digest_named((file.name, file) for one in images for file in (one, _labels_of(one)))

    def read(self) -> pa.Table:
        from PIL.Image import fromarray

        rows = [
            {"image": png(fromarray(pixels)), "label": str(label), "split": split, "source": source}
            for split, part in self.parts.items()
            for pixels, label, source in _idx_rows(part)
        ]
        return table_of(_with_all_parts(rows, self.parts))


class ImageFolder:
    """A folder for each class, its name the label: `train/cat/tom.png`; also Pillow's other usual formats."""

    def __init__(self, *, train: str, validation: str | None = None, test: str | None = None) -> None:
        """A part for which no folder is named is cut out of the training part by the hash of the file."""
        named = {"train": train, "validation": validation, "test": test}
        self.parts = {split: Path(part) for split, part in named.items() if part}

    def fingerprint(self) -> str:
        return digest_named(
            (f"{split}/{file.relative_to(folder).as_posix()}", file)
            for split, folder in self.parts.items()
            for file in _image_files(folder)
        )

    def read(self) -> pa.Table:
        rows = [
            {"image": file.read_bytes(), "label": file.parent.name, "split": split, "source": str(file)}
            for split, folder in self.parts.items()
            for file in _image_files(folder)
        ]
        return table_of(_with_all_parts(rows, self.parts))


def table_of(rows: Iterable[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def _with_all_parts(rows: list[Row], named: Mapping[str, Any]) -> list[Row]:
    if lacking := [split for split in SPLITS if split not in named]:
        hold_out(rows, "image", lacking)
    return rows


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name one that holds a folder for each class")
    files = sorted(file for file in folder.glob("*/*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{folder} holds no images: put them into a folder for each class, as in cat/tom.png")
    return files


def _labels_of(images: Path) -> Path:
    labels = images.with_name(images.name.replace("images", "labels").replace("idx3", "idx1"))
    if labels == images:
        raise UserError(f"{images}: name a file of images as MNIST does, e.g. train-images-idx3-ubyte.gz")
    return labels


def _idx_rows(part: str) -> Iterator[tuple[npt.NDArray[np.uint8], int, str]]:
    """Pixels [height, width], label and source of each image of a slice of a file."""
    file, rows = split_slice(part)
    images, labels = _idx(file, 3), _idx(_labels_of(file), 1)
    if len(images) != len(labels):
        raise UserError(f"{file} holds {len(images)} images, but there are {len(labels)} labels beside it")
    for number in range(len(images))[rows or slice(None)]:
        yield images[number], int(labels[number]), f"{file.name}:{number}"


def _idx(file: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    """An array of unsigned bytes: a magic number, the size of each dimension (big-endian), the bytes."""
    try:
        data = file.read_bytes()
        data = gzip.decompress(data) if file.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{file} cannot be read ({reason}): name an IDX file there is") from None
    sizes = [int.from_bytes(data[at : at + 4]) for at in range(4, 4 + 4 * dimensions, 4)]
    content = data[4 + 4 * dimensions :]
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(content) != prod(sizes):
        raise UserError(f"{file} is no complete IDX file of bytes in {dimensions} dimensions: get it again")
    return np.frombuffer(content, np.uint8).reshape(sizes)
