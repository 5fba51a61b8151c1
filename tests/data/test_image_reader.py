import cv2
import numpy as np
import pytest

from lib.data.catalog import build_categories, read_catalog, read_categories
from lib.data.image_reader import GRAY, ImageReader
from lib.data.sources.bson_file import index_bson
from tests.conftest import jpeg, product


@pytest.fixture
def known(tmp_path, write_bson, write_categories):
    pictures = [jpeg(i) for i in range(20)]
    pictures[7] = b"no picture at all"
    path = write_bson([product(i, [p], 10) for i, p in enumerate(pictures)])
    build_categories(tmp_path, write_categories([10]))
    index_bson(tmp_path, path, read_categories(tmp_path), True, 0.0)
    return read_catalog(tmp_path, path)


def test_whole_pictures_equal_a_plain_decode(known):
    rows = np.array([3, 1, 19])
    with ImageReader(known, (40, 32), 2) as reader:
        ((got, pictures),) = reader.batches(rows, 8)
    assert got.tolist() == [3, 1, 19]
    assert pictures.shape == (3, 3, 40, 32)
    assert pictures.dtype == np.uint8
    for row, picture in zip(rows, pictures, strict=True):
        plain = cv2.imdecode(np.frombuffer(jpeg(int(row)), np.uint8), cv2.IMREAD_COLOR)
        assert (picture.transpose(1, 2, 0) == plain[:, :, ::-1]).all()


def test_a_rotten_picture_is_grey_and_counted(known):
    with ImageReader(known, (20, 16), 2) as reader:
        pictures = np.concatenate([p for _, p in reader.batches(np.arange(20), 6)])
        assert np.flatnonzero(reader.corrupt).tolist() == [7]
        assert reader.first_corrupt == (7, "not an image")
    assert (pictures[7] == GRAY).all()
    assert (pictures[6] != GRAY).any()


def test_a_picture_beyond_the_end_is_rotten(known):
    known.path.write_bytes(known.path.read_bytes()[: int(known.offset[19]) + 3])
    with ImageReader(known, (20, 16), 1) as reader:
        reader.decode(19)
        assert reader.first_corrupt == (19, "beyond the end of the file")


class Painter:
    """Paints a random number on the corner of a picture of its own size."""

    crop = (30, 24)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        return rng.integers(0, 256, count, np.uint8)

    def apply(self, picture: np.ndarray, drawn: np.ndarray, i: int, out: np.ndarray) -> None:
        out[:] = picture[:30, :24]
        out[0, 0] = drawn[i]


def painted(known, seed: int, threads: int, rows: np.ndarray) -> list[np.ndarray]:
    with ImageReader(known, (40, 32), threads) as reader:
        batches = reader.batches(rows, 3, Painter(), np.random.SeedSequence(seed))
        return [pictures for _, pictures in batches]


def test_augmented_batches_depend_on_the_seed_alone(known):
    rows = np.arange(20)[::-1]
    first = np.concatenate(painted(known, 1, 1, rows))
    assert first.shape == (20, 3, 30, 24)
    assert (first == np.concatenate(painted(known, 1, 4, rows))).all()
    other = np.concatenate(painted(known, 2, 4, rows))
    assert (first != other)[:, :, 0, 0].any()
    other[:, :, 0, 0] = first[:, :, 0, 0]
    assert (first == other).all()


def test_each_picture_is_altered_with_its_own_numbers(known):
    rows = np.array([3, 5, 9, 1])
    batches = painted(known, 1, 2, rows)
    seeds = np.random.SeedSequence(1).spawn(2)
    first, second = (np.random.default_rng(seed) for seed in seeds)
    corners = [Painter().draw(3, first), Painter().draw(1, second)]
    with ImageReader(known, (40, 32), 1) as reader:
        pictures = np.concatenate(batches).transpose(0, 2, 3, 1)
        for row, picture, corner in zip(rows, pictures, np.concatenate(corners), strict=True):
            assert (picture[0, 0] == corner).all()
            assert (picture[1:] == reader.decode(int(row))[1:30, :24]).all()


def test_a_rotten_picture_is_altered_as_grey(known):
    (pictures,) = painted(known, 1, 2, np.array([6, 7]))
    assert (pictures[1, :, 1:] == GRAY).all()
    assert (pictures[0, :, 1:] != GRAY).any()


def test_channels_vary_fastest_in_memory(known):
    (pictures,) = painted(known, 1, 1, np.array([1]))
    assert pictures.transpose(0, 2, 3, 1).flags["C_CONTIGUOUS"]
