from __future__ import annotations

import gzip
import io
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from fromzero.errors import UserError
from fromzero.tasks.examples import SPLITS, part
from fromzero.tasks.file_tables import FileTable
from fromzero.tasks.images import Digits, IdxFiles, ImageFolder, table_of
from fromzero.tasks.pixels import moved, opened, png, uniform

RAMP = (np.arange(64, dtype=np.uint8) * 4).reshape(8, 8)


def one_image(data: bytes, name: str = "one") -> dict[str, Any]:
    return {"image": data, "label": "a", "split": "train", "source": name}


def file_of(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


def write_idx(folder: Path, images: npt.NDArray[np.uint8], labels: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in {"images-idx3": images, "labels-idx1": np.array(labels, np.uint8)}.items():
        header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4) for size in array.shape)
        (folder / f"my-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return folder / "my-images-idx3-ubyte.gz"


def test_digits_keep_the_order_of_their_file_so_that_other_hands_wrote_the_test_part() -> None:
    table, bundled = Digits().read(), load_digits()
    assert table["label"].to_pylist() == [str(label) for label in bundled.target]
    assert table["split"].to_pylist() == ["train"] * 1257 + ["validation"] * 180 + ["test"] * 360
    assert table["source"][1796].as_py() == "sklearn.datasets.load_digits:1796"
    np.testing.assert_allclose(pixels(table["image"][7].as_py()) / 255, bundled.images[7] / 16, atol=1 / 500)


def test_no_digit_of_the_test_part_is_a_training_image() -> None:
    table = Digits().read()
    known = set(part(table, "train")["image"].to_pylist())
    assert not known & set(part(table, "test")["image"].to_pylist())


def test_slices_of_idx_files_are_the_parts(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 4), np.uint8)
    file = str(write_idx(tmp_path, images, list(range(10))))
    table = IdxFiles(train=f"{file}[:6]", validation=f"{file}[6:8]", test=f"{file}[-2:]").read()
    assert table["label"].to_pylist() == [str(label) for label in range(10)]
    assert Counter(table["split"].to_pylist()) == {"train": 6, "validation": 2, "test": 2}
    assert table["source"][9].as_py() == "my-images-idx3-ubyte.gz:9"
    np.testing.assert_array_equal(pixels(table["image"][9].as_py()), images[9])


def test_parts_without_a_name_are_cut_out_of_the_training_part(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (200, 3, 4), np.uint8)
    table = IdxFiles(train=str(write_idx(tmp_path, images, [n % 2 for n in range(200)]))).read()
    counts = Counter(table["split"].to_pylist())
    assert all(counts[split] >= 10 for split in SPLITS)


def noise(count: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 4), np.uint8)


def test_idx_files_of_a_named_part_stay_in_it(tmp_path: Path) -> None:
    """Those of a label that the train part lacks, too; the validation part is cut out of the train part."""
    train = write_idx(tmp_path / "train", noise(200, 0), [n % 2 for n in range(200)])
    test = write_idx(tmp_path / "test", noise(200, 1), [n % 3 for n in range(200)])
    table = IdxFiles(train=str(train), test=str(test)).read()
    assert table["split"].to_pylist()[200:] == ["test"] * 200
    assert set(table["split"].to_pylist()[:200]) == {"train", "validation"}


def test_images_in_a_named_folder_stay_in_its_part(tmp_path: Path) -> None:
    """Whatever equal images of the train part do."""
    for split, count in (("train", 100), ("test", 120)):
        for number, image in enumerate(noise(count, 0)):
            folder = tmp_path / split / f"class{number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.png").write_bytes(file_of(Image.fromarray(image)))
    table = ImageFolder(train=str(tmp_path / "train"), test=str(tmp_path / "test")).read()
    assert table["split"].to_pylist()[100:] == ["test"] * 120
    assert set(table["split"].to_pylist()[:100]) == {"train", "validation"}


def test_the_fingerprint_of_idx_files_covers_the_labels(tmp_path: Path) -> None:
    images = np.zeros((2, 3, 4), np.uint8)
    source = IdxFiles(train=str(write_idx(tmp_path, images, [0, 1])))
    before = source.fingerprint()
    write_idx(tmp_path, images, [1, 1])
    assert source.fingerprint() != before


def test_idx_files_that_do_not_hold_are_refused_by_name(tmp_path: Path) -> None:
    file = write_idx(tmp_path, np.zeros((3, 2, 2), np.uint8), [0, 1])
    with pytest.raises(UserError, match="holds 3 images, but there are 2 labels"):
        IdxFiles(train=str(file)).read()
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-1]))
    with pytest.raises(UserError, match=r"my-images-idx3-ubyte\.gz is no complete IDX file"):
        IdxFiles(train=str(file)).read()
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(UserError, match=r"my-images-idx3-ubyte\.gz cannot be read"):
        IdxFiles(train=str(file)).read()
    file.with_name("my-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"my-labels-idx1-ubyte\.gz is no file: check task\.data\.train"):
        IdxFiles(train=str(file)).fingerprint()
    with pytest.raises(UserError, match="name a file of images as MNIST does"):
        IdxFiles(train=str(tmp_path / "pictures.gz")).fingerprint()


def test_a_folder_is_a_class_and_what_is_no_image_file_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cat" / "folder.png").mkdir(parents=True)
    hidden = (".ipynb_checkpoints/tom.png", "__MACOSX/tom.png", "cat/.DS_Store", "cat/._tom.png")
    names = ("cat/tom.png", "cat/notes.txt", "cat/a.HEIC", "cat/b.heic", "dog/rex.JPG", "lost.png")
    for name in (*names, *hidden):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(file_of(Image.fromarray(RAMP), "JPEG" if "J" in name else "PNG"))
    with caplog.at_level(logging.WARNING):
        table = ImageFolder(train=str(tmp_path), validation=str(tmp_path), test=str(tmp_path)).read()
    assert part(table, "train")["label"].to_pylist() == ["cat", "dog"]
    assert f"{tmp_path}: 4 entries of its class folders are no images of a known kind" in caplog.text
    assert ": .heic (2), folder (1), .txt (1)" in caplog.text
    assert f"{tmp_path}: 1 images are in no class folder and are left out: .png (1)" in caplog.text
    assert table["source"][1].as_py() == str(tmp_path / "dog" / "rex.JPG")


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "WEBP", "GIF"])
def test_other_kinds_of_images_are_read_too(tmp_path: Path, kind: str) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"one.{kind.lower()}").write_bytes(file_of(Image.fromarray(RAMP), kind))
    table = ImageFolder(train=str(tmp_path), validation=str(tmp_path), test=str(tmp_path)).read()
    assert len(uniform(table, None)) == 6


def test_a_class_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    for name in ("cat/tom.png", "dog/rex.png", "bird/a.heic", "bird/b.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(file_of(Image.fromarray(RAMP)))
    with pytest.raises(UserError, match=r"bird holds no image of a known kind, but \.heic \(2\): "):
        ImageFolder(train=str(tmp_path)).read()
    table = table_of([one_image(file_of(Image.fromarray(RAMP))), {**one_image(b"no image"), "label": "bird"}])
    with pytest.raises(UserError, match="no image of the label 'bird' can be read"):
        uniform(table, None)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no images: put them into a folder for each class"):
        ImageFolder(train=str(tmp_path)).read()
    with pytest.raises(UserError, match="no such is no folder"):
        ImageFolder(train=str(tmp_path / "no such")).fingerprint()


def test_a_broken_image_is_left_out_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    good = file_of(Image.fromarray(RAMP))
    table = table_of([one_image(good), one_image(good[:50], "half.png"), one_image(b"no image", "text.png")])
    with caplog.at_level(logging.WARNING):
        kept = uniform(table, None)
    assert kept["source"].to_pylist() == ["one"]
    assert "2 of 3 images cannot be read and are left out, the first: half.png (" in caplog.text
    with caplog.at_level(logging.WARNING):
        uniform(table_of([one_image(good), one_image(b"no image", "text.png")]), None)
    assert "the first: text.png (it is of no kind of image that is known)" in caplog.text


def test_images_of_other_sizes_are_resized_to_the_size_that_is_stated_and_only_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    small, large = (file_of(Image.fromarray(np.full((side, side), 77, np.uint8))) for side in (8, 30))
    table = table_of([one_image(small), one_image(large)])
    with pytest.raises(UserError, match=r"of 2 sizes, 8×8 to 30×30: .* task\.image_size=32"):
        uniform(table, None)
    with caplog.at_level(logging.INFO):
        alike = uniform(table, 8)["image"].to_pylist()
    np.testing.assert_array_equal(pixels(alike[1]), np.full((8, 8), 77))
    assert "1 of 2 images are resized to 8×8 pixels" in caplog.text


def test_one_image_with_colour_makes_all_of_them_so() -> None:
    grey, red = file_of(Image.fromarray(RAMP)), file_of(Image.new("RGB", (8, 8), "red"))
    assert [
        pixels(data).shape for data in uniform(table_of([one_image(grey)]), None)["image"].to_pylist()
    ] == [(8, 8)]
    both = uniform(table_of([one_image(grey), one_image(red)]), None)["image"].to_pylist()
    np.testing.assert_array_equal(pixels(both[0]), np.repeat(RAMP[:, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("image", "mode", "corner"),
    [
        (Image.fromarray(RAMP.astype(np.uint16) * 256), "L", 252),  # 16 bits a pixel
        (Image.new("LA", (8, 8), (0, 0)), "L", 255),  # transparent: the white below it
        (Image.new("RGBA", (8, 8), (255, 0, 0, 255)), "RGB", (255, 0, 0)),
        (Image.new("1", (8, 8), 1), "L", 255),
    ],
)
def test_images_of_any_mode_become_grey_or_colour(image: Image.Image, mode: str, corner: Any) -> None:
    read = opened(file_of(image))
    assert (read.mode, read.getpixel((7, 7))) == (mode, corner)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder as `datasets` publishes images: one file of Parquet, with the names of the classes."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    images = [file_of(Image.fromarray(pixels)) for pixels in noise(20, 0)]
    rows = {"image": [{"bytes": image, "path": None} for image in images], "animal": [0, 1] * 10}
    features = Features({"image": ImageFeature(), "animal": ClassLabel(names=["cat", "dog"])})
    folder = tmp_path / "pets"
    folder.mkdir()
    Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    return folder


def test_images_of_a_hugging_face_data_set_are_read_from_their_bytes(published: Path) -> None:
    columns = {"image": "image", "label": "animal"}
    data = FileTable(columns=columns, dataset=str(published), train="train[:16]", test="train[16:]")
    read = uniform(data.read(), None)
    np.testing.assert_array_equal(pixels(read["image"][0].as_py()), noise(20, 0)[0])
    assert set(read["label"].to_pylist()) == {"cat", "dog"}
    assert Counter(read["split"].to_pylist())["test"] == 4


def test_images_inside_a_table_are_read_from_it(published: Path) -> None:
    file = str(published / "train.parquet")
    data = FileTable(columns={"image": "image", "label": "animal"}, train=f"{file}[:16]", test=f"{file}[16:]")
    read = uniform(data.read(), None)
    np.testing.assert_array_equal(pixels(read["image"][0].as_py()), noise(20, 0)[0])
    assert read["label"].to_pylist()[:2] == ["0", "1"]
    assert data.fingerprint()


def test_a_table_names_images_from_where_it_lies(tmp_path: Path) -> None:
    for name in ("tom", "rex"):
        Image.fromarray(RAMP).save(tmp_path / f"{name}.png")
    (tmp_path / "lists").mkdir()
    table = tmp_path / "lists" / "pets.csv"
    table.write_text("image,label\n../tom.png,cat\n../rex.png,dog\n", encoding="utf-8")
    data = FileTable(columns={"image": "image", "label": "label"}, train=str(table), test=str(table))
    read, before = data.read(), data.fingerprint()
    assert read["image"][0].as_py() == (tmp_path / "tom.png").read_bytes()
    assert read["source"][0].as_py() == str(tmp_path / "lists" / "../tom.png")
    Image.fromarray(RAMP.T).save(tmp_path / "tom.png")
    assert data.fingerprint() != before


def test_png_gives_back_what_it_was_given() -> None:
    np.testing.assert_array_equal(pixels(png(Image.fromarray(RAMP))), RAMP)


def test_what_is_moved_by_nothing_stays_and_the_same_generator_moves_alike() -> None:
    images = torch.rand(4, 1, 8, 6)
    torch.testing.assert_close(moved(images, np.random.default_rng(0), shift=0, rotate=0, zoom=0), images)
    first, second = (
        moved(images, np.random.default_rng(0), shift=0.2, rotate=20, zoom=0.2) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first, images)


class OneTurn:
    """Draws the largest angle and nothing else."""

    def uniform(self, low: float, high: float, size: tuple[int, int]) -> npt.NDArray[np.float64]:
        return np.repeat([[1.0], [0.0], [0.0], [0.0]], size[1], axis=1)


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    images = torch.rand(2, 3, 8, 8)
    turned = moved(images, OneTurn(), shift=0, rotate=90, zoom=0)  # type: ignore[arg-type]
    either = [torch.rot90(images, times, dims=(2, 3)) for times in (1, 3)]
    assert any(torch.allclose(turned, one, atol=1e-5) for one in either)
