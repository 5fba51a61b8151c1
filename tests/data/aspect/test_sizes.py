"""Sizes of a whole catalog, read from headers."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from lib.data.aspect import sizes
from lib.data.aspect.sizes import read_sizes, write_sizes
from lib.data.catalog import FileTable

SIZES = [(40, 20), (30, 60), (25, 25)] * 5


def picture(height, width, kind="JPEG", **options):
    noise = np.random.default_rng(height).integers(0, 255, (height, width, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, kind, **options)
    return sink.getvalue()


@pytest.fixture
def catalog(index_products):
    images = [picture(*size, ("JPEG", "PNG")[i % 2]) for i, size in enumerate(SIZES)]
    images[4] = b"no image"
    images[6] = picture(*SIZES[6], icc_profile=b"x" * 60_000)  # the frame follows after 60 kB
    return index_products([images[:1], images[1:4], images[4:]])


@pytest.mark.parametrize(("threads", "header"), [(1, 1 << 14), (3, 1 << 14), (2, 100), (2, 1)])
def test_sizes_are_those_of_the_pictures(catalog, monkeypatch, threads, header):
    monkeypatch.setattr(sizes, "CHUNK_ROWS", 4)
    monkeypatch.setattr(sizes, "HEADER_BYTES", header)
    found = read_sizes(catalog, threads)
    expected = np.array(SIZES, np.int32)
    expected[4] = 0
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_the_file_holds_them_and_unknown_ones_are_counted(catalog, tmp_path):
    assert write_sizes(tmp_path, catalog, 2) == {"images": 15, "unknown": 1}
    np.testing.assert_array_equal(np.load(tmp_path / "sizes.npy"), read_sizes(catalog, 1))


def test_bitmaps_have_the_size_of_their_codec(catalog, tmp_path):
    files = FileTable(np.array([0]), pa.chunked_array([["none.raw"]]), "uint8:6x5")
    found = read_sizes(replace(catalog, path=tmp_path, files=files), 1)
    assert np.unique(found, axis=0).tolist() == [[6, 5]]
