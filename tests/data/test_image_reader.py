from dataclasses import replace

import cv2
import numpy as np
import pyarrow as pa
import pytest

from lib.data.catalog import FileTable
from lib.data.image_reader import GRAY, ImageReader
from tests.conftest import jpeg


@pytest.fixture
def catalog(index_products):
    images = [jpeg(i) for i in range(20)]
    images[7] = b"not an image at all"
    return index_products([[image] for image in images])


def test_images_equal_a_plain_decode(catalog):
    rows = np.array([3, 1, 19])
    with ImageReader(catalog, (40, 32), 2) as reader:
        ((batch_rows, images),) = reader.batches(rows, 8)
    assert batch_rows.tolist() == [3, 1, 19]
    assert images.shape == (3, 3, 40, 32)
    assert images.dtype == np.uint8
    for row, image in zip(rows, images, strict=True):
        expected = cv2.imdecode(np.frombuffer(jpeg(int(row)), np.uint8), cv2.IMREAD_COLOR)
        assert (image.transpose(1, 2, 0) == expected[:, :, ::-1]).all()


def test_batches_come_in_the_order_of_the_rows(catalog):
    rows = np.random.default_rng(0).integers(0, 20, 50)
    with ImageReader(catalog, (20, 16), 3) as reader:
        batches = list(reader.batches(rows, 7))
    assert [len(batch_rows) for batch_rows, _ in batches] == [7] * 7 + [1]
    assert np.concatenate([batch_rows for batch_rows, _ in batches]).tolist() == rows.tolist()


def test_a_corrupt_image_is_replaced_by_gray_and_reported(catalog):
    with ImageReader(catalog, (20, 16), 2) as reader:
        images = np.concatenate([images for _, images in reader.batches(np.arange(20), 6)])
        assert np.flatnonzero(reader.corrupt).tolist() == [7]
        assert reader.first_corrupt == (7, "not an image")
    assert (images[7] == GRAY).all()
    assert (images[6] != GRAY).any()


def test_an_image_beyond_the_end_of_the_file_is_corrupt(catalog):
    catalog.path.write_bytes(catalog.path.read_bytes()[: int(catalog.offset[19]) + 3])
    with ImageReader(catalog, (20, 16), 1) as reader:
        reader.decode(19)
        assert reader.first_corrupt == (19, "beyond the end of the file")


def test_bitmaps_are_read_as_gray_images(catalog, tmp_path):
    bitmaps = np.random.default_rng(0).integers(0, 256, (20, 6, 5), np.uint8)
    (tmp_path / "a.raw").write_bytes(bitmaps[:12].tobytes())
    (tmp_path / "b.raw").write_bytes(b"head" + bitmaps[12:].tobytes())
    files = FileTable(np.array([0, 12]), pa.chunked_array([["a.raw", "b.raw"]]), "uint8:6x5")
    row = np.arange(20)
    offset = np.where(row < 12, row * 30, 4 + (row - 12) * 30)
    length = np.full(20, 30, np.int32)
    bitmap_catalog = replace(catalog, path=tmp_path, offset=offset, length=length, files=files)
    with ImageReader(bitmap_catalog, (6, 5), 2) as reader:
        ((_, images),) = reader.batches(row, 100)
    assert (images == bitmaps[:, None]).all()


class CornerPainter:
    """An augmenter that crops an image and paints a random number on its corner."""

    crop = (30, 24)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 256, count, np.uint8)

    def apply(self, image: np.ndarray, params: np.ndarray, i: int, out: np.ndarray) -> None:
        out[:] = image[:30, :24]
        out[0, 0] = params[i]


def augmented_batches(catalog, seed: int, threads: int, rows: np.ndarray) -> list[np.ndarray]:
    with ImageReader(catalog, (40, 32), threads) as reader:
        batches = reader.batches(rows, 3, CornerPainter(), np.random.SeedSequence(seed))
        return [images for _, images in batches]


def test_augmented_batches_depend_on_the_seed_alone(catalog):
    rows = np.arange(20)[::-1]
    images = np.concatenate(augmented_batches(catalog, 1, 1, rows))
    assert images.shape == (20, 3, 30, 24)
    assert (images == np.concatenate(augmented_batches(catalog, 1, 4, rows))).all()
    other = np.concatenate(augmented_batches(catalog, 2, 4, rows))
    assert (images != other)[:, :, 0, 0].any()
    other[:, :, 0, 0] = images[:, :, 0, 0]
    assert (images == other).all()


def test_each_image_is_augmented_with_its_own_parameters(catalog):
    rows = np.array([3, 5, 9, 1])
    batches = augmented_batches(catalog, 1, 2, rows)
    seeds = np.random.SeedSequence(1).spawn(2)
    first, second = (np.random.default_rng(seed) for seed in seeds)
    corners = [CornerPainter().draw(3, first), CornerPainter().draw(1, second)]
    with ImageReader(catalog, (40, 32), 1) as reader:
        images = np.concatenate(batches).transpose(0, 2, 3, 1)
        for row, image, corner in zip(rows, images, np.concatenate(corners), strict=True):
            assert (image[0, 0] == corner).all()
            assert (image[1:] == reader.decode(int(row))[1:30, :24]).all()


def test_a_corrupt_image_is_augmented_as_gray(catalog):
    (images,) = augmented_batches(catalog, 1, 2, np.array([6, 7]))
    assert (images[1, :, 1:] == GRAY).all()
    assert (images[0, :, 1:] != GRAY).any()


def test_batches_have_the_memory_order_channels_last(catalog):
    (images,) = augmented_batches(catalog, 1, 1, np.array([1]))
    assert images.transpose(0, 2, 3, 1).flags["C_CONTIGUOUS"]


def test_batches_are_written_to_the_allocated_memory(catalog):
    allocated = []

    def allocate(shape):
        allocated.append(np.empty(shape, np.uint8))
        return allocated[-1]

    with ImageReader(catalog, (20, 16), 1, allocate) as reader:
        ((_, images),) = reader.batches(np.arange(4), 8)
    assert np.shares_memory(images, allocated[0])
