"""Images with one label each: scikit-learn's digits, IDX files as of MNIST, a folder for each class."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections import Counter
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
SUFFIXES = {
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tga"),
    *(".tif", ".tiff", ".webp"),
}
"""Files that count as images in a folder: of what Pillow reads, all that photographs and drawings come in."""

logger = logging.getLogger(__name__)

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
        files = [file for one in images for file in (one, _labels_of(one))]
        if missing := next((file for file in files if not file.is_file()), None):
            raise UserError(f"{missing} is no file: check task.data.train and its like")
        return digest_named((file.name, file) for file in files)

    def read(self) -> pa.Table:
        from PIL.Image import fromarray

        rows = [
            {"image": png(fromarray(pixels)), "label": str(label), "split": split, "source": source}
            for split, part in self.parts.items()
            for pixels, label, source in _idx_rows(part)
        ]
        return table_of(_with_all_parts(rows, self.parts))


class ImageFolder:
    """A folder for each class, its name the label: `train/cat/tom.png`.

    What else stands in or beside them is counted in the log; names that begin with a dot are not seen.
    """

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
        for folder in self.parts.values():
            _warn_of_other_files(folder)
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
    files = [one for one in _visible(folder, "*/*") if _is_image(one)]
    classes = [one for one in _visible(folder, "*") if one.is_dir()]
    if not files and not any(_visible(folder, "*/*")):
        raise UserError(f"{folder} holds no images: put them into a folder for each class, as in cat/tom.png")
    if empty := sorted(set(classes) - {file.parent for file in files}):
        held = _endings(_visible(empty[0], "*")) or "nothing"
        raise UserError(
            f"{empty[0]} holds no image of a known kind, but {held}: "
            f"make them .png or .jpg straight in that folder, or take it out"
        )
    return files


def _warn_of_other_files(folder: Path) -> None:
    if others := [one for one in _visible(folder, "*/*") if not _is_image(one)]:
        message = "%s: %d entries of its class folders are no images of a known kind and are left out: %s"
        logger.warning(message, folder, len(others), _endings(others))
    if beside := [one for one in _visible(folder, "*") if _is_image(one)]:
        message = "%s: %d images are in no class folder and are left out: %s"
        logger.warning(message, folder, len(beside), _endings(beside))


def _visible(folder: Path, pattern: str) -> list[Path]:
    """Without `.ipynb_checkpoints`, `.DS_Store` and what else programs leave behind."""
    found = sorted(folder.glob(pattern))
    hidden = (".", "__MACOSX")
    return [one for one in found if not any(p.startswith(hidden) for p in one.relative_to(folder).parts)]


def _is_image(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES and entry.is_file()


def _endings(entries: Iterable[Path]) -> str:
    """As `.heic (40), folder (1)`."""
    counts = Counter("folder" if one.is_dir() else one.suffix.lower() or "no ending" for one in entries)
    return ", ".join(f"{kind} ({count})" for kind, count in counts.most_common(10))


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
