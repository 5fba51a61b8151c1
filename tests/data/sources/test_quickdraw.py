import gzip
import json

import numpy as np
import pytest

from lib.data.image_reader import ImageReader
from lib.data.sources.packed_files import unpack
from lib.data.sources.quickdraw import list_strokes
from lib.data.strokes import rasterize
from lib.errors import UserError
from tests.data.source_index import index_source

FLAT, STEEP = [[0, 255], [0, 10]], [[0, 10], [0, 255]]


def line(key: int, *strokes: list[list[int]]) -> str:
    return json.dumps({"word": "x", "key_id": str(key), "drawing": strokes})


def test_drawings_are_indexed_and_read(tmp_path):
    source = tmp_path / "train"
    source.mkdir()
    lines = [line(11, FLAT), "", line(12, FLAT, STEEP), "{}", line(13, FLAT)]
    (source / "cat.ndjson").write_text("\n".join(lines))
    (source / "dog.ndjson").write_text(line(21, STEEP) + "\n")
    (source / "none.ndjson").write_text("")
    listing = list_strokes(source, True, 20)
    facts, catalog, categories = index_source(
        tmp_path / "i", source, source, listing, max_bad_fraction=0.5
    )
    assert (facts["products"], facts["images"], facts["distinct_images"]) == (4, 4, 3)
    assert facts["bad_records"] == 1
    assert "cat.ndjson: not a drawing" in (tmp_path / "i" / "scan_report.json").read_text()
    assert categories.keys == ["cat", "dog"]
    assert catalog.product_id.tolist() == [11, 12, 13, 21]
    assert catalog.label.tolist() == [0, 0, 0, 1]
    with ImageReader(catalog, (20, 20), 1) as reader:
        expected = rasterize([np.array(STEEP, np.int16).T], 20)
        np.testing.assert_array_equal(reader.decode(3)[:, :, 1], expected)
        assert not reader.corrupt.any()


def test_a_single_file_is_a_source_and_may_be_unlabelled(tmp_path):
    (tmp_path / "dog.ndjson").write_text(line(21, STEEP) + "\n")
    assert list_strokes(tmp_path / "dog.ndjson", False, 20).labels == [""]


def test_packed_files_are_unpacked_once(tmp_path):
    source, folder = tmp_path / "given", tmp_path / "unpacked"
    source.mkdir()
    folder.mkdir()
    with gzip.open(source / "cat.ndjson.gz", "wt") as file:
        file.write(line(1, [[0, 9], [0, 9]]) + "\n")
    assert unpack(source, folder) == 1
    assert list_strokes(folder, True, 28).keys == ["1"]
    written = (folder / "cat.ndjson").stat().st_mtime_ns
    assert unpack(source, folder) == 1
    assert (folder / "cat.ndjson").stat().st_mtime_ns == written


def test_classes_and_drawings_per_class_can_be_limited(tmp_path):
    for name in ("a", "b", "ab"):
        lines = [line(i, [[0, i], [0, 255]]) for i in range(1, 4)]
        (tmp_path / f"{name}.ndjson").write_text("\n".join(["{}", *lines]))
    listing = list_strokes(tmp_path, True, 28, ["b", "ab"], 2)
    assert listing.labels == ["ab", "ab", "b", "b"]
    assert listing.keys == ["1", "2", "1", "2"]
    with pytest.raises(UserError, match=r"no file abc\.ndjson for the class 'abc'"):
        list_strokes(tmp_path, True, 28, ["abc"])


def test_files_without_a_drawing_are_an_error(tmp_path):
    (tmp_path / "a.ndjson").write_text("{}\n")
    with pytest.raises(UserError, match="no drawings in its files"):
        list_strokes(tmp_path, True, 28)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no file of the kinds"):
        list_strokes(tmp_path / "empty", True, 28)


def test_raw_drawings_are_named(tmp_path):
    raw = [[0.5, 300.2], [1.0, 2.0], [0, 17]]
    (tmp_path / "cat.ndjson").write_text(line(1, raw) + "\n")
    with pytest.raises(
        UserError, match=r"line 1 of cat\.ndjson: a raw drawing, with times; use the"
    ):
        list_strokes(tmp_path, True, 28)


def test_a_packed_file_without_its_suffix_is_named(tmp_path):
    (tmp_path / "cat.ndjson").write_bytes(gzip.compress(b"{}"))
    with pytest.raises(UserError, match=r"cat\.ndjson: not drawings \(ndjson\) but a gzip archive"):
        list_strokes(tmp_path, True, 28)


def test_keys_are_kept_as_they_stand(tmp_path):
    keys = ["0001", "0012", "12", "9223372036854775808"]
    text = "".join(line(key, FLAT) + "\n" for key in keys)
    for name in ("cat", "dog"):
        (tmp_path / f"{name}.ndjson").write_text(text if name == "cat" else line(7, FLAT))
    listing = list_strokes(tmp_path, True, 28)
    facts, catalog, _ = index_source(tmp_path / "i", tmp_path, tmp_path, listing)
    assert facts["products"] == 5
    assert [catalog.key(row) for row in range(4)] == keys
    assert catalog.id_is_number().tolist() == [False, False, True, False, True]
