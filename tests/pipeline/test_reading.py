"""Damaged files of the work folder: one line for the user, whatever the library raises."""

import json

import numpy as np
import pyarrow as pa
import pytest

from lib.data.catalog import write_table
from lib.errors import UserError
from lib.pipeline import reading

DAMAGED_JSON = [b"", b"{", b"\xff", b"[" * 100_000, b"3", b"null", b'{"other": 1}', b"9" * 5000]


@pytest.mark.parametrize("data", DAMAGED_JSON, ids=range(len(DAMAGED_JSON)))
def test_json_that_is_damaged_or_lacks_a_key(data, tmp_path):
    (tmp_path / "ids.json").write_bytes(data)
    with pytest.raises(UserError, match=r"ids\.json is damaged.*delete the folder"):
        reading.read_json(tmp_path / "ids.json", "comparable")


def test_json_with_its_keys(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"a": [1], "b": None}))
    assert reading.read_json(tmp_path / "a.json", "b") == {"a": [1], "b": None}


def test_a_missing_file_and_an_error_of_the_machine(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        reading.read_json(tmp_path / "a.json")
    with pytest.raises(MemoryError), reading.reading(tmp_path):
        raise MemoryError
    with pytest.raises(OSError, match="disk"), reading.reading(tmp_path):
        raise OSError(5, "a failing disk")


@pytest.mark.parametrize("read", [reading.load_array, reading.map_array])
def test_arrays(read, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6).reshape(2, 3))
    assert read(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"a\.npy is damaged"):
        read(path)


def test_a_table_whose_offsets_lead_beyond_it(tmp_path):
    path = tmp_path / "t.arrow"
    write_table(path, {"name": pa.array(["alpha", "beta", "gamma"]), "n": np.arange(3)})
    assert reading.read_table(path, "name").num_rows == 3
    with pytest.raises(UserError, match=r"t\.arrow is damaged"):
        reading.read_table(path, "name", "absent")
    data = path.read_bytes()
    offsets = np.array([0, 5, 9, 14], np.int32).tobytes()
    assert offsets in data
    path.write_bytes(data.replace(offsets, np.array([0, 5, 1 << 30, 14], np.int32).tobytes()))
    with pytest.raises(UserError, match=r"t\.arrow is damaged"):
        reading.read_table(path)


def test_an_empty_table_keeps_its_columns(tmp_path):
    write_table(tmp_path / "t.arrow", {"a": np.empty(0), "b": np.empty(0)})
    assert reading.read_table(tmp_path / "t.arrow", "a").column_names == ["a", "b"]
