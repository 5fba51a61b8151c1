"""Tables of every container, their damage, and what they keep in memory."""

import json

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from lib.data.sources.parquet.table_file import (
    class_names,
    iter_batches,
    read_schema,
)
from lib.errors import UserError

TABLE = pa.table({"a": list(range(100)), "b": [b"x" * 1000] * 100})


def write(path, form: str):
    """The table as Parquet, Feather 2 (compressed or not), or a stream as `datasets` caches it."""
    if form == "parquet":
        pq.write_table(TABLE, path, row_group_size=30)
    elif form == "stream":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as writer:
            writer.write_table(TABLE, 30)
    else:
        feather.write_feather(TABLE, path, compression=form, chunksize=30)
    return path


FORMS = ["parquet", "stream", "uncompressed", "lz4", "zstd"]


@pytest.mark.parametrize("form", FORMS)
def test_tables_are_read_in_small_batches(tmp_path, form):
    path = write(tmp_path / "a", form)
    assert read_schema(path).names == ["a", "b"]
    batches = list(iter_batches(path, ["b", "a"], 7))
    assert max(batch.num_rows for batch in batches) <= 7
    assert pa.Table.from_batches(batches) == TABLE.select(["b", "a"])
    assert sum(batch.num_rows for batch in iter_batches(path, [], 7)) == 100


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_table_is_one_clear_line(tmp_path, form):
    path = write(tmp_path / "a", form)
    data = path.read_bytes()
    for size in (3, 7, 40, len(data) // 2, len(data) - 9):
        path.write_bytes(data[:size])
        with pytest.raises(UserError) as error:
            list(iter_batches(path, ["a", "b"]))
        assert str(error.value).startswith(f"{path}: a damaged or incomplete table: ")
        assert "\n" not in str(error.value)


def test_a_damaged_page_is_one_clear_line(tmp_path):
    path = tmp_path / "a"
    pq.write_table(TABLE, path, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a damaged or incomplete table: .*checksum"):
        list(iter_batches(path, ["b"]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"FEA1 and more", "Feather of version 1"),
        (b"PK\x03\x04" + b"x" * 99, "not a Parquet or Arrow table but a zip archive"),
        (b"", "a damaged or incomplete table"),
        (b"id,image\n1,2\n" * 9, "a damaged or incomplete table"),
    ],
)
def test_other_files_are_named(tmp_path, content, words):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_schema(tmp_path / "a")


def test_a_name_that_is_not_utf8_is_one_clear_line(tmp_path):
    path = write(tmp_path / "a", "stream")
    schema = pa.schema([("abcdé", pa.int64())])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema):
        pass
    path.write_bytes(path.read_bytes().replace("abcdé".encode(), b"abcd\xff\xfe"))
    with pytest.raises(UserError, match="a damaged or incomplete table: 'utf-8' codec"):
        read_schema(path)


def test_columns_that_lack_or_are_double_are_named(tmp_path):
    path = write(tmp_path / "a", "parquet")
    with pytest.raises(UserError, match="no column image; it has: a, b"):
        list(iter_batches(path, ["image"]))
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    with pytest.raises(UserError, match="2 columns are named a"):
        list(iter_batches(path, ["a"]))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (json.dumps({"info": {"features": {"a": {"_type": "ClassLabel", "names": ["x"]}}}}), ["x"]),
        (json.dumps({"info": {"features": {"a": {"_type": "Value", "names": ["x"]}}}}), None),
        (json.dumps({"info": {"features": {"a": {"_type": "ClassLabel", "names": [1]}}}}), None),
        (json.dumps({"info": []}), None),
        ("{", None),
        ("[" * 100_000, None),
    ],
)
def test_names_of_classes_are_those_of_the_metadata(text, names):
    assert class_names(pa.schema([("a", pa.int64())], {"huggingface": text}), "a") == names
