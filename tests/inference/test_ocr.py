"""Words of a catalog by the real engine: identical images, rotten ones, processes, resuming."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.inputs.ocr import Ocr
from lib.data.catalog import Catalog, read_catalog
from lib.errors import UserError
from lib.inference import ocr
from lib.inference.ocr import SHARDS, TABLE, words_of_products, write_words
from lib.pipeline.reading import read_table
from lib.utils.kept import Results, keeping
from tests.conftest import product
from tests.models.text.test_ocr import picture

pytest.importorskip("rapidocr", reason="requirements-ocr.txt")

SETTINGS = Ocr(min_side=64)


def png(*lines: str) -> bytes:
    return cv2.imencode(".png", picture(*lines, size=(64, 160))[..., ::-1])[1].tobytes()


PRODUCTS = [
    [png("Acme"), b"rotten", png("Kettle")],
    [],
    [png("Kettle")],
    [png(), png("Acme")],
    [png()],
]
WORDS = ["Acme\nKettle", None, "Kettle", "Acme", None]


@pytest.fixture(scope="module")
def results() -> Results:
    return {}


@pytest.fixture(autouse=True)
def engine_kept(results) -> Iterator[None]:
    """The engine is loaded once for all tests."""
    with keeping(results):
        yield


@pytest.fixture
def catalog(index_products, monkeypatch) -> Catalog:
    """Seven images, of which four are distinct: two shards."""
    monkeypatch.setattr(ocr, "SHARD_SIZE", 2)
    return index(index_products, PRODUCTS)


def index(index_products, products: Sequence[Sequence[bytes]]) -> Catalog:
    """The catalog of products with these images."""
    return index_products([product(1 + i, images, 7) for i, images in enumerate(products)])


def read(folder: Path, open_catalog: Callable[[], Catalog], processes: int = 1) -> dict:
    folder.mkdir(exist_ok=True)
    return write_words(folder, open_catalog, SETTINGS, processes, 0.5)


def num_read(log: str) -> list[int]:
    return [int(count) for count in re.findall(r"read the words of (\d+) distinct", log)]


def test_words_of_products_in_any_number_of_processes(catalog, tmp_path, caplog):
    caplog.set_level("INFO")
    open_catalog = partial(read_catalog, tmp_path / "index", catalog.path)
    facts = read(tmp_path / "one", open_catalog)
    assert (facts["images"], facts["with_words"], facts["unread"]) == (7, 4, 1)
    assert facts["reasons"] == {"not an image": 1}
    assert "words of 1 of 7 images cannot be read" in caplog.text
    assert num_read(caplog.text) == [4]
    assert words_of_products(tmp_path / "one", catalog).to_pylist() == WORDS
    read(tmp_path / "two", open_catalog, processes=2)
    one, two = ((tmp_path / name / TABLE).read_bytes() for name in ("one", "two"))
    assert one == two
    assert [path.name for path in (tmp_path / "two").iterdir()] == [TABLE]


def test_an_interrupted_run_reads_its_unfinished_shards_alone(catalog, tmp_path, caplog):
    caplog.set_level("INFO")
    calls = []

    def interrupt() -> Catalog:
        calls.append(1)
        if len(calls) > 2:  # the first one lists the shards, the second reads one
            raise KeyboardInterrupt
        return catalog

    with pytest.raises(KeyboardInterrupt):
        read(tmp_path / "words", interrupt)
    assert len(list((tmp_path / "words" / SHARDS).iterdir())) == 1
    facts = read(tmp_path / "words", lambda: catalog)
    assert num_read(caplog.text) == [2]
    assert facts == read(tmp_path / "whole", lambda: catalog)
    resumed, whole = ((tmp_path / name / TABLE).read_bytes() for name in ("words", "whole"))
    assert resumed == whole
    assert read(tmp_path / "words", lambda: catalog) == facts  # killed before its manifest
    assert num_read(caplog.text) == [2, 4]


def test_a_damaged_shard_is_one_line(catalog, tmp_path):
    folder = tmp_path / SHARDS
    folder.mkdir()
    (folder / f"{0:08d}.arrow").write_bytes(b"half of a shard")
    with pytest.raises(UserError, match=r"00000000.arrow is damaged .* delete the folder"):
        read(tmp_path, lambda: catalog)


def test_too_many_unreadable_images_are_one_line(index_products, tmp_path):
    catalog = index(index_products, [[b"rotten"], [b"bad"], [png()]])
    with pytest.raises(UserError, match=r"2 of 3 images cannot be read \(2 x not an image\)"):
        read(tmp_path, lambda: catalog)


def test_a_catalog_without_images_has_no_words(index_products, tmp_path):
    catalog = index(index_products, [[], []])
    assert read(tmp_path, lambda: catalog)["images"] == 0
    assert words_of_products(tmp_path, catalog).to_pylist() == [None, None]


def test_words_of_another_catalog_are_one_line(catalog, tmp_path):
    read(tmp_path, lambda: catalog)
    assert len(read_table(tmp_path / TABLE, "text")) == 7
    other = replace(catalog, image_product=catalog.image_product[:6])
    with pytest.raises(UserError, match="it has 7 images, and the catalog 6;"):
        words_of_products(tmp_path, other)


def test_an_image_that_the_engine_fails_on_is_passed_over(index_products, tmp_path, monkeypatch):
    """An engine without its networks fails on every image."""
    monkeypatch.setattr(ocr.load_engine(SETTINGS)._engine.text_det, "session", None)
    catalog = index(index_products, [[png("Acme")], [png()]])
    facts = write_words(tmp_path, lambda: catalog, SETTINGS, 1, 1.0)
    assert facts["unread"] == 2
    assert facts["reasons"] == {"TypeError: 'NoneType' object is not callable": 2}
    assert np.all([not words for words in words_of_products(tmp_path, catalog).to_pylist()])
