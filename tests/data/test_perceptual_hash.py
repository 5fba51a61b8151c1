"""Keys of what pictures look like, from real JPEGs."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.data.catalog import Catalog, build_categories, read_catalog, read_categories
from lib.data.perceptual_hash import build_perceptual_hashes, perceptual_hashes
from lib.data.sources.bson_file import index_bson
from lib.data.sources.numpy_arrays import list_arrays
from tests.conftest import jpeg, product
from tests.data.source_index import index_source

ROTTEN = b"no picture at all"


def photograph(seed: int) -> bytes:
    """Smooth, as photographs are; the flat squares of `jpeg` have no low frequencies."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    picture = cv2.resize(small, (150, 180), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def encoded_again(data: bytes, height: int, width: int, quality: int) -> bytes:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.fixture
def index(tmp_path: Path, write_bson: Callable, write_categories: Callable) -> Callable:
    def written(pictures: list[bytes]) -> Catalog:
        path = write_bson([product(i, [p], 10) for i, p in enumerate(pictures)])
        build_categories(tmp_path, write_categories([10]))
        index_bson(tmp_path, path, read_categories(tmp_path), True, 0.0)
        return read_catalog(tmp_path, path)

    return written


def test_another_encoding_has_the_same_key_and_another_picture_has_not(index: Callable) -> None:
    pictures = [photograph(seed) for seed in range(12)]
    again = [encoded_again(picture, 180, 150, 80) for picture in pictures]
    smaller = [encoded_again(picture, 144, 120, 95) for picture in pictures]
    known = index(pictures + again + smaller)
    keys, corrupt = perceptual_hashes(known, 2)
    assert (keys.shape, keys.dtype, corrupt) == ((36, 2), np.uint64, 0)
    assert len(np.unique(known.md5, axis=0)) == 36
    assert len(np.unique(keys[:12], axis=0)) == 12
    for other in (keys[12:24], keys[24:]):
        assert (other == keys[:12]).all(axis=1).mean() > 0.7


def test_equal_bytes_have_equal_keys_whatever_the_threads(index: Callable) -> None:
    known = index([jpeg(seed % 5) for seed in range(20)])
    one, many = perceptual_hashes(known, 1)[0], perceptual_hashes(known, 3)[0]
    np.testing.assert_array_equal(one, many)
    np.testing.assert_array_equal(one[:5], one[5:10])


def test_a_rotten_picture_is_like_its_own_bytes_alone(index: Callable) -> None:
    grey = cv2.imencode(".jpg", np.full((40, 32, 3), 128, np.uint8))[1].tobytes()
    known = index([ROTTEN, ROTTEN, ROTTEN + b"!", grey, jpeg(1)])
    keys, corrupt = perceptual_hashes(known, 1)
    assert corrupt == 3
    np.testing.assert_array_equal(keys[:3], known.md5[:3])
    assert len(np.unique(keys, axis=0)) == 4


def test_bitmaps_have_keys_too(tmp_path: Path) -> None:
    """Arrays hold grey values, not files: the reader knows, whatever the source."""
    rng = np.random.default_rng(0)
    grey = np.stack([cv2.resize(rng.integers(0, 128, (7, 7), np.uint8), (28, 28)) for _ in "abc"])
    source = tmp_path / "train"
    source.mkdir()
    np.save(source / "cat.npy", np.concatenate([grey, grey + np.uint8(60)]))
    _, known, _ = index_source(tmp_path / "index", source, source, list_arrays(source, True))
    keys, corrupt = perceptual_hashes(known, 1)
    assert corrupt == 0
    assert len(np.unique(keys[:3], axis=0)) == 3
    np.testing.assert_array_equal(keys[:3], keys[3:])


def test_written_as_returned(tmp_path: Path, index: Callable) -> None:
    known = index([jpeg(0), ROTTEN])
    (tmp_path / "alike").mkdir()
    assert build_perceptual_hashes(tmp_path / "alike", known, 1) == {"images": 2, "rotten": 1}
    np.testing.assert_array_equal(
        np.load(tmp_path / "alike" / "alike.npy"), perceptual_hashes(known, 1)[0]
    )


def test_a_catalogue_without_pictures(tmp_path: Path, write_bson: Callable) -> None:
    path = write_bson([product(1, [], 10)])
    none = np.empty(0, np.int64)
    nothing = Catalog(
        path, none, none, none, none, none, none, none, none, np.empty((0, 2), np.uint64)
    )
    keys, corrupt = perceptual_hashes(nothing, 1)
    assert (keys.shape, corrupt) == ((0, 2), 0)
