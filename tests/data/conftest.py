"""A small BSON catalog for the tests of lib/data."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lib.data.catalog import Catalog, build_categories, read_catalog, read_categories
from lib.data.sources.bson_file import index_bson
from tests.conftest import product


@pytest.fixture
def index_products(
    tmp_path: Path, write_bson: Callable, write_categories: Callable
) -> Callable[[Sequence[Sequence[bytes]]], Catalog]:
    """Index products of one class, given the images of each."""

    def index(products: Sequence[Sequence[bytes]]) -> Catalog:
        path = write_bson([product(i, images, 10) for i, images in enumerate(products)])
        build_categories(tmp_path, write_categories([10]))
        index_bson(tmp_path, path, read_categories(tmp_path), True, 0.0)
        return read_catalog(tmp_path, path)

    return index
