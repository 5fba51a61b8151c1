from pathlib import Path

import cv2
import numpy as np

from lib.data.catalog import Catalog
from lib.data.perceptual_hash import build_perceptual_hashes, perceptual_hashes
from lib.data.sources.numpy_arrays import list_arrays
from tests.conftest import jpeg
from tests.data.source_index import index_source

NOT_AN_IMAGE = b"not an image at all"


def photograph(seed: int) -> bytes:
    """Smooth as photographs are; the flat squares of `jpeg` have no low frequencies."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    image = cv2.resize(small, (150, 180), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", image)[1].tobytes()


def reencoded(data: bytes, height: int, width: int, quality: int) -> bytes:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def test_another_encoding_keeps_the_hash_and_another_image_changes_it(index_products) -> None:
    images = [photograph(seed) for seed in range(12)]
    again = [reencoded(image, 180, 150, 80) for image in images]
    smaller = [reencoded(image, 144, 120, 95) for image in images]
    catalog = index_products([[image] for image in images + again + smaller])
    hashes, corrupt = perceptual_hashes(catalog, 2)
    assert (hashes.shape, hashes.dtype, corrupt) == ((36, 2), np.uint64, 0)
    assert len(np.unique(catalog.md5, axis=0)) == 36
    assert len(np.unique(hashes[:12], axis=0)) == 12
    for other in (hashes[12:24], hashes[24:]):
        assert (other == hashes[:12]).all(axis=1).mean() > 0.7


def test_equal_bytes_have_equal_hashes_whatever_the_number_of_threads(index_products) -> None:
    catalog = index_products([[jpeg(seed % 5)] for seed in range(20)])
    one, many = perceptual_hashes(catalog, 1)[0], perceptual_hashes(catalog, 3)[0]
    np.testing.assert_array_equal(one, many)
    np.testing.assert_array_equal(one[:5], one[5:10])


def test_a_corrupt_image_keeps_its_md5(index_products) -> None:
    gray = cv2.imencode(".jpg", np.full((40, 32, 3), 128, np.uint8))[1].tobytes()
    images = [NOT_AN_IMAGE, NOT_AN_IMAGE, NOT_AN_IMAGE + b"!", gray, jpeg(1)]
    catalog = index_products([[image] for image in images])
    hashes, corrupt = perceptual_hashes(catalog, 1)
    assert corrupt == 3
    np.testing.assert_array_equal(hashes[:3], catalog.md5[:3])
    assert len(np.unique(hashes, axis=0)) == 4


def test_bitmaps_have_hashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    gray = np.stack([cv2.resize(rng.integers(0, 128, (7, 7), np.uint8), (28, 28)) for _ in "abc"])
    source = tmp_path / "train"
    source.mkdir()
    np.save(source / "cat.npy", gray)
    np.save(source / "dog.npy", gray + np.uint8(60))
    _, catalog, _ = index_source(tmp_path / "index", source, source, list_arrays(source, True))
    hashes, corrupt = perceptual_hashes(catalog, 1)
    assert corrupt == 0
    assert len(np.unique(hashes[:3], axis=0)) == 3
    np.testing.assert_array_equal(hashes[:3], hashes[3:])


def test_hashes_are_written_as_computed(tmp_path: Path, index_products) -> None:
    catalog = index_products([[jpeg(0)], [NOT_AN_IMAGE]])
    folder = tmp_path / "phash"
    folder.mkdir()
    assert build_perceptual_hashes(folder, catalog, 1) == {"images": 2, "corrupt": 1}
    hashes, _ = perceptual_hashes(catalog, 1)
    np.testing.assert_array_equal(np.load(folder / "phash.npy"), hashes)


def test_a_catalog_without_images_has_no_hashes(tmp_path: Path) -> None:
    path = tmp_path / "x.bson"
    path.touch()
    none = np.empty(0, np.int64)
    md5 = np.empty((0, 2), np.uint64)
    catalog = Catalog(path, none, none, none, none, none, none, none, none, md5)
    hashes, corrupt = perceptual_hashes(catalog, 1)
    assert (hashes.shape, corrupt) == ((0, 2), 0)
