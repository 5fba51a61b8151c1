import csv
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.catalog import Catalog, read_catalog
from lib.data.decoding.readable import check_strict, drop_rows, leave_out_undecodable
from lib.data.image_reader import ImageReader
from lib.data.sources.image_folder import list_folder
from lib.errors import UserError
from tests.conftest import jpeg
from tests.data.source_index import index_source

HTML, CUT = b"<html>404</html>", jpeg(1)[: len(jpeg(1)) * 2 // 3]
FILES = {"a/0.jpg": HTML, "a/1.jpg": jpeg(1), "a/2.jpg": CUT, "b/3.jpg": jpeg(3), "b/4.jpg": b"?"}
BAD = {0: "an HTML page, not an image", 2: "cut off", 4: "not an image"}


def embed(folder: Path, catalog: Catalog, size: int = 8) -> np.ndarray:
    """What stage 01 writes: an embedding of each image, and whether it could be decoded."""
    embeddings = np.arange(len(catalog.length) * 3, dtype=np.float16).reshape(-1, 3)
    np.save(folder / "embeddings.npy", embeddings)
    with ImageReader(catalog, (size, size), 1) as reader:
        for _ in reader.batches(np.arange(len(catalog.length)), 4):
            pass
        np.save(folder / "decoded.npy", ~reader.corrupt)
    return embeddings


def leave_out(folder: Path, index: Path, catalog: Catalog, max_fraction: float = 1.0) -> dict:
    with ImageReader(catalog, (8, 8), 1) as reader:
        return leave_out_undecodable(folder, index, reader, max_fraction)


@pytest.fixture
def of_files(tmp_path: Path) -> tuple[Path, Path, Catalog]:
    """A folder for results, the index, and the catalog of FILES."""
    root, folder = tmp_path / "images", tmp_path / "readable"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    folder.mkdir()
    _, catalog, _ = index_source(tmp_path / "index", root, root, list_folder(root, True))
    return folder, tmp_path / "index", catalog


def read_list(folder: Path) -> list[dict[str, str]]:
    with (folder / "undecodable.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_undecodable_image_is_listed_and_left_out(of_files, caplog):
    folder, index, catalog = of_files
    embeddings = embed(folder, catalog)
    facts = leave_out(folder, index, catalog)
    assert (facts["undecodable"], facts["products_without_readable_image"]) == (3, 3)
    listed = read_list(folder)
    assert [row["file"] for row in listed] == ["a/0.jpg", "a/2.jpg", "b/4.jpg"]
    assert [row["product"] for row in listed] == ["a/0.jpg", "a/2.jpg", "b/4.jpg"]
    for row, reason in zip(listed, BAD.values(), strict=True):
        assert row["reason"].startswith(reason)
    assert "3 of 5 images cannot be decoded (1 x an HTML page, not an image; " in caplog.text
    kept = read_catalog(folder, catalog.path)
    assert [kept.key(p) for p in range(5)] == [catalog.key(p) for p in range(5)]
    assert kept.image_count.tolist() == [0, 1, 0, 1, 0]
    assert kept.image_product.tolist() == [1, 3]
    assert kept.label.tolist() == catalog.label.tolist()
    assert (kept.md5 == catalog.md5[[1, 3]]).all()
    assert (np.load(folder / "embeddings.npy") == embeddings[[1, 3]]).all()
    with ImageReader(kept, (8, 8), 1) as reader, ImageReader(catalog, (8, 8), 1) as whole:
        assert (reader.decode(1) == whole.decode(3)).all()


def test_a_product_keeps_its_other_images(tmp_path, index_products):
    products = [[HTML], [jpeg(0), CUT, jpeg(1)], [], [jpeg(2)], [jpeg(3), HTML]]
    catalog = index_products(products)
    folder = tmp_path / "readable"
    folder.mkdir()
    embed(folder, catalog)
    facts = leave_out(folder, tmp_path, catalog)
    assert (facts["undecodable"], facts["products_without_readable_image"]) == (3, 1)
    kept = read_catalog(folder, catalog.path)
    assert kept.image_count.tolist() == [0, 2, 0, 1, 1]
    assert kept.first_image.tolist() == [0, 0, 2, 2, 3]
    assert kept.image_position.tolist() == [0, 1, 0, 0]
    assert kept.product_id.tolist() == catalog.product_id.tolist()
    for row in read_list(folder):
        data = catalog.path.read_bytes()[int(row["byte"]) :]
        assert data.startswith((HTML, CUT))


def test_sound_images_leave_nothing_behind(tmp_path, index_products, caplog):
    catalog = index_products([[jpeg(0)], [jpeg(1)]])
    folder = tmp_path / "readable"
    folder.mkdir()
    embed(folder, catalog)
    assert leave_out(folder, tmp_path, catalog) == {"undecodable": 0}
    assert sorted(path.name for path in folder.iterdir()) == ["decoded.npy", "embeddings.npy"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    check_strict(folder, catalog.path)


def test_no_image_at_all_can_be_left(tmp_path, index_products):
    catalog = index_products([[HTML], [CUT]])
    folder = tmp_path / "readable"
    folder.mkdir()
    embed(folder, catalog)
    leave_out(folder, tmp_path, catalog)
    kept = read_catalog(folder, catalog.path)
    assert kept.image_count.tolist() == [0, 0]
    assert len(kept.md5) == len(np.load(folder / "embeddings.npy")) == 0


def test_more_than_the_setting_allows_is_one_fault(of_files):
    folder, index, catalog = of_files
    embed(folder, catalog)
    with pytest.raises(
        UserError, match=r"3 of 5 images .* raise data.max_missing_fraction"
    ) as error:
        leave_out(folder, index, catalog, 0.5)
    assert str(folder / "undecodable.csv") in str(error.value)
    assert len(read_list(folder)) == 3
    leave_out(folder, index, catalog, 0.6)


def test_strict_names_the_first_and_the_list(of_files):
    folder, index, catalog = of_files
    embed(folder, catalog)
    leave_out(folder, index, catalog)
    with pytest.raises(UserError, match=r"a/0.jpg of product a/0.jpg: an HTML page.*undecodable"):
        check_strict(folder, catalog.path)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), max_size=20), st.integers(1, 5))
def test_dropping_rows_equals_indexing(tmp_path_factory, keep, width):
    path = tmp_path_factory.mktemp("rows") / "a.npy"
    rows = np.random.default_rng(0).random((len(keep), width)).astype(np.float16)
    np.save(path, rows)
    drop_rows(path, np.array(keep, bool))
    assert (np.load(path) == rows[np.array(keep, bool)]).all()
