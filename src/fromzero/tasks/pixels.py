"""Images of any kind made alike, by Pillow: one size, grey or colour, PNG; and moved, as augmentation."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fromzero.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

logger = logging.getLogger(__name__)


def uniform(table: pa.Table, side: int | None) -> pa.Table:
    """All images as PNG of one size and one mode: grey where all are grey, else colour.

    What cannot be read is left out, and counted in the log.

    Args:
        side: width and height to which images of another size are resized; None: they must be alike.

    Raises:
        UserError: sizes differ, and no `side` is given; or no image of a label can be read.
    """
    images = [_opened(value) for value in table["image"].to_pylist()]
    _warn_of_broken(images, table["source"].to_pylist())
    good = [(number, image) for number, image in enumerate(images) if not isinstance(image, str)]
    kept = table.take(pa.array([number for number, _ in good], pa.int64()))
    _refuse_lost_labels(table, kept)
    mode = "RGB" if any(image.mode == "RGB" for _, image in good) else "L"
    size = (side, side) if side else _common_size([image for _, image in good])
    if resized := sum(image.size != size for _, image in good):
        logger.info("%d of %d images are resized to %d×%d pixels", resized, len(good), *size)
    column = pa.array([png(fitted(image, size, mode)) for _, image in good], pa.binary())
    return kept.set_column(kept.column_names.index("image"), "image", column)


def fitted(image: Image, size: tuple[int, int], mode: str) -> Image:
    """`size` is (width, height); bilinear, over all pixels that fall together."""
    from PIL.Image import Resampling

    image = image.convert(mode)
    return image if image.size == size else image.resize(size, Resampling.BILINEAR)


def moved(images: Tensor, rng: np.random.Generator, *, shift: float, rotate: float, zoom: float) -> Tensor:
    """Each image, of [images, channels, height, width], turned, scaled and moved on its own, bilinear.

    `shift` is a share of a side, `rotate` in degrees, `zoom` a share: each at most, either way. What comes
    in from outside is as the nearest pixel of the border.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    count, _, height, width = images.shape
    angle, scale, right, down = rng.uniform(-1, 1, (4, count))
    angle, scale = np.radians(rotate) * angle, 1 + zoom * scale
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    # Where a pixel is taken from, in coordinates that run from -1 to 1 over each side.
    rows = [[cos, -sin * height / width, 2 * shift * right], [sin * width / height, cos, 2 * shift * down]]
    places = torch.tensor(np.array(rows), dtype=images.dtype).permute(2, 0, 1)
    grid = affine_grid(places, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)


def png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def opened(data: bytes) -> Image:
    """In mode `L` where it has no colour, else `RGB`; what is transparent is put on white."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode.startswith("I"):  # 16 bits a pixel, of which `convert` would cut off all above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _opened(value: bytes | Mapping[str, Any]) -> Image | str:
    """The image, or why there is none; Hugging Face data sets hold `{"bytes": …, "path": …}`."""
    from PIL import UnidentifiedImageError
    from PIL.Image import DecompressionBombError

    try:
        return opened(
            value if isinstance(value, bytes) else value["bytes"] or Path(value["path"]).read_bytes()
        )
    except UnidentifiedImageError:  # its words name a buffer, no file
        return "it is of no kind of image that is known"
    except (OSError, RuntimeError, SyntaxError, ValueError, DecompressionBombError) as error:  # Pillow's
        return " ".join(str(error).split())[:200]


def _warn_of_broken(images: Sequence[Image | str], sources: Sequence[str]) -> None:
    broken = [(source, why) for source, why in zip(sources, images, strict=True) if isinstance(why, str)]
    if broken:
        message = "%d of %d images cannot be read and are left out, the first: %s (%s)"
        logger.warning(message, len(broken), len(images), *broken[0])


def _refuse_lost_labels(table: pa.Table, kept: pa.Table) -> None:
    """`kept` is what could be read of `table`."""
    if lost := sorted(set(table["label"].to_pylist()) - set(kept["label"].to_pylist())):
        raise UserError(
            f"no image of the label {lost[0]!r} can be read: save them anew as PNG, or take them out"
        )


def _common_size(images: Sequence[Image]) -> tuple[int, int]:
    sizes = sorted({image.size for image in images})
    if len(sizes) > 1:
        (width, height), (wide, high) = sizes[0], sizes[-1]
        raise UserError(
            f"the images are of {len(sizes)} sizes, {width}×{height} to {wide}×{high}: say to which they "
            f"are resized, e.g. task.image_size=32"
        )
    return sizes[0] if sizes else (1, 1)
