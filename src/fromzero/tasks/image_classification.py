"""One label for an image: the digits that scikit-learn brings, or the user's own images.

The processor is transformers' own for ViT, of the size of the images and of the mean and deviation of the
training part, so that what is saved serves images wherever transformers does.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fromzero.errors import UserError
from fromzero.tasks.baselines import majority_class
from fromzero.tasks.classes import OneLabel, label_names, refuse_label_smoothing
from fromzero.tasks.examples import labels_of
from fromzero.tasks.networks import load_model, network_model
from fromzero.tasks.pixels import fitted, moved, opened, uniform
from fromzero.tasks.task import Example, Facts, Network, Prediction

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Images(Protocol):
    """Where images come from: `fromzero.tasks.images` and `file_tables`."""

    def fingerprint(self) -> str: ...

    def read(self) -> pa.Table:
        """`image` (a file as bytes), `label`, `split`, `source`."""
        ...


class ImageClassification(OneLabel):
    """See `fromzero.tasks.task.Task` for what each method promises."""

    monitor = "accuracy"
    inputs = ("image",)
    reads_corpus = False

    def __init__(
        self,
        *,
        data: Images,
        network: Network,
        image_size: int | None = None,
        shift: float = 0.0,
        rotate: float = 0.0,
        zoom: float = 0.0,
        label_smoothing: float = 0.0,
    ) -> None:
        """
        Args:
            image_size: width and height of what the network sees; None: as the images are, all alike.
            shift, rotate, zoom: how far a training image is moved at most, as a share of its side; turned, in
                degrees; made larger or smaller, as a share. Each drawn anew each time.
            label_smoothing: see `OneLabel`.
        """
        refuse_label_smoothing(label_smoothing)
        if min(shift, rotate, zoom) < 0 or zoom >= 1:
            raise UserError(f"task: shift={shift}, rotate={rotate}, zoom={zoom}: use 0 or more, zoom below 1")
        if image_size is not None and image_size <= 0:
            raise UserError(
                f"task.image_size={image_size}: use 1 pixel or more, or null for images all alike"
            )
        self.data, self.network, self.image_size = data, network, image_size
        self.shift, self.rotate, self.zoom, self.label_smoothing = shift, rotate, zoom, label_smoothing

    def fingerprint(self) -> str:
        return self.data.fingerprint()

    def examples(self, corpus: Path | None) -> pa.Table:
        return uniform(self.data.read(), self.image_size)

    def facts(self, examples: pa.Table) -> Facts:
        labels = labels_of(examples)
        height, width, channels = _pixels(examples.slice(0, 1)).shape[1:]
        return {"labels": labels, "height": height, "width": width, "channels": channels}

    def processor(self, base: Path | None, train: pa.Table) -> Any:
        from transformers import AutoImageProcessor, ViTImageProcessorPil

        if isinstance(self.network, str):
            return AutoImageProcessor.from_pretrained(self.network)  # type: ignore[no-untyped-call]
        pixels = _pixels(train) / 255
        return ViTImageProcessorPil(
            size={"height": pixels.shape[1], "width": pixels.shape[2]},
            image_mean=pixels.mean(axis=(0, 1, 2)).tolist(),
            image_std=np.maximum(pixels.std(axis=(0, 1, 2)), 1e-3).tolist(),  # images of one colour have none
        )

    def load_processor(self, folder: Path) -> Any:
        from transformers import AutoImageProcessor

        return AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]

    def encode(self, processor: Any, table: pa.Table, facts: Facts) -> list[Example]:
        index = {label: position for position, label in enumerate(facts["labels"])}
        size = (processor.size["width"], processor.size["height"])
        mode = "L" if len(processor.image_mean) == 1 else "RGB"
        return [
            {
                "pixels": fitted(opened(row["image"]), size, mode).tobytes(),
                "label": index[row["label"]],
                "source": row["source"],
            }
            for row in table.to_pylist()
        ]

    def model(self, base: Path | None, processor: Any, facts: Facts, *, random: bool) -> PreTrainedModel:
        from transformers import AutoModelForImageClassification

        fixed = label_names(facts["labels"])
        if callable(self.network):
            height, width, channels = facts["height"], facts["width"], facts["channels"]
            fixed |= {"num_channels": channels, "inputs": height * width * channels}
            fixed |= {"image_size": height if height == width else [height, width]}
        return network_model(AutoModelForImageClassification, None, self.network, random=random, **fixed)

    def load(self, folder: Path) -> PreTrainedModel:
        from transformers import AutoModelForImageClassification

        return load_model(AutoModelForImageClassification, folder)

    def collate(
        self, examples: Sequence[Example], processor: Any, rng: np.random.Generator | None = None
    ) -> dict[str, Tensor]:
        """`pixel_values` [images, channels, height, width], as the processor itself gives them."""
        import torch

        flat = np.frombuffer(b"".join(example["pixels"] for example in examples), np.uint8)
        mean, std = (np.array(values, np.float32) for values in (processor.image_mean, processor.image_std))
        shape = (len(examples), processor.size["height"], processor.size["width"], len(mean))
        values = torch.from_numpy((flat.reshape(shape) / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
        if rng is not None and (self.shift or self.rotate or self.zoom):
            values = moved(values, rng, shift=self.shift, rotate=self.rotate, zoom=self.zoom)
        return {
            "pixel_values": values.contiguous(),
            "labels": torch.tensor([example["label"] for example in examples]),
        }

    def logits(self, model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
        """What a network calls its images is its own."""
        logits: Tensor = model(batch["pixel_values"]).logits
        return logits.float()

    def baselines(self, train: pa.Table, test: pa.Table) -> dict[str, list[Prediction]]:
        said = {
            "3 nearest neighbours": _nearest_neighbours(train, test),
            "majority class": majority_class(train, test),
        }
        return {name: [{"label": label} for label in labels] for name, labels in said.items()}


def _pixels(table: pa.Table) -> npt.NDArray[np.uint8]:
    """[images, height, width, channels]."""
    from PIL import Image

    arrays = [np.asarray(Image.open(io.BytesIO(image))) for image in table["image"].to_pylist()]
    return np.stack(arrays).reshape(len(arrays), *arrays[0].shape[:2], -1)


def _nearest_neighbours(train: pa.Table, test: pa.Table) -> list[str]:
    """The label of most of the three training images with the least Euclidean distance over pixels."""
    from sklearn.neighbors import KNeighborsClassifier

    known, asked = (_pixels(part).reshape(len(part), -1) / np.float32(255) for part in (train, test))
    neighbours = KNeighborsClassifier(n_neighbors=min(3, len(known))).fit(known, train["label"].to_pylist())
    return [str(label) for label in neighbours.predict(asked)]
