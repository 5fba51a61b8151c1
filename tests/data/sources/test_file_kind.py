import bz2
import gzip
import io
import lzma
import zipfile

import bson
import numpy as np
import pytest

from lib.data.sources.file_kind import GZIP, check_kind, other_kind
from lib.errors import UserError
from tests.conftest import jpeg


def zipped(name: str) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr(name, "x")
    return memory.getvalue()


def array() -> bytes:
    memory = io.BytesIO()
    np.save(memory, np.zeros((2, 4), np.uint8))
    return memory.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (gzip.compress(b"x", mtime=0), "a gzip archive; unpack it first"),
        (bz2.compress(b"x"), "a bzip2 archive"),
        (lzma.compress(b"x"), "an xz archive"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "a 7z archive"),
        (zipped("train.bson"), "a zip archive"),
        (zipped("[Content_Types].xml"), "an Excel workbook; save it as CSV"),
        (b"\n<!DOCTYPE html>\n<html>", "an HTML page; download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of git-lfs; run `git lfs"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC picture"),
        (jpeg(1), "a JPEG picture"),
        (array(), "a numpy array"),
    ],
)
def test_a_file_is_named_by_its_head(tmp_path, data, kind):
    path = tmp_path / "train.bson"
    path.write_bytes(data)
    assert other_kind(path).startswith(kind)
    with pytest.raises(UserError, match=r"train\.bson: not a BSON file but an? .+; \w+"):
        check_kind(path, "a BSON file")


def test_what_is_wanted_is_no_other_kind(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(gzip.compress(b"x", mtime=0))
    assert other_kind(path, GZIP) == ""
    path.write_bytes(array())
    assert other_kind(path, "a numpy array") == ""


@pytest.mark.parametrize(
    "data", [b"", b"product,images\n", b'{"key_id": 1}', b"id;version\n", b"\xef\xbb\xbfid,a\n"]
)
def test_text_is_no_other_kind(tmp_path, data):
    (tmp_path / "f").write_bytes(data)
    assert other_kind(tmp_path / "f") == ""


@pytest.mark.parametrize("low_byte", [0, 1, 2, 19])
def test_a_gzip_archive_is_one_at_any_time(tmp_path, low_byte):
    """Its time, with a low byte that is a type of BSON, is followed by what looks like a key."""
    path = tmp_path / "a.bson"
    packed = bytearray(gzip.compress(b"x", mtime=0x61616100 + low_byte))
    packed[8] = 0  # of another level of compression
    path.write_bytes(bytes(packed))
    assert other_kind(path) == "a gzip archive; unpack it first"


@pytest.mark.parametrize("head", [b"\0\0\0\0\1a\0", b"\5\0\0\0\1a\0"])
def test_a_length_that_no_document_has_is_no_bson(tmp_path, head):
    (tmp_path / "a.bson").write_bytes(head)
    assert other_kind(tmp_path / "a.bson") == ""


@pytest.mark.parametrize("length", [0x8B1F, 0x88B1F, 0x18B1F])
def test_a_record_whose_length_begins_as_a_gzip_archive_is_bson(tmp_path, length):
    empty = len(bson.encode({"_id": 1, "picture": b""}))
    data = bson.encode({"_id": 1, "picture": bytes(length - empty)})
    assert data[:2] == b"\x1f\x8b"
    (tmp_path / "f").write_bytes(data)
    assert other_kind(tmp_path / "f") == ""
