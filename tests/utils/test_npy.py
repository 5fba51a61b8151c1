"""Headers of arrays that numpy did not write, and arrays that would need pickle."""

import io
import pickle

import numpy as np
import pytest

from lib.utils.npy import ArrayWriter, open_array, read_array, read_next


def saved(header, body=bytes(24)):
    text = header.encode("latin-1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


HEADERS = [
    "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), ",  # numpy raises a TokenError
    "{'descr': '<i8', 'fortran_order': False, 'shape': (9" + "9" * 30 + ",)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (-3,)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (1 << 60,)}",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (4000000000000,)}",
    "{'descr': 3, 'fortran_order': False, 'shape': (3,)}",
    "{'shape': (3,)}",
    "__import__('os').system('true')",
    "(" * 3000,
    "",
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_headers_that_are_none(header, tmp_path):
    (tmp_path / "a.npy").write_bytes(saved(header))
    for read in (open_array, read_array):
        with pytest.raises(ValueError, match=r"not a complete \.npy file"):
            read(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="not a complete array"):
        read_next(io.BytesIO(saved(header)))


class Payload:
    def __reduce__(self):
        return pytest.fail, ("code of a file was run",)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}"
    for data in (saved(header, pickle.dumps([Payload()])), pickle.dumps(Payload())):
        (tmp_path / "a.npy").write_bytes(data)
        with pytest.raises(ValueError, match="not a complete"):
            read_array(tmp_path / "a.npy")
        with pytest.raises(ValueError, match="not a complete"):
            read_next(io.BytesIO(data))


def test_a_whole_array(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    assert read_array(tmp_path / "a.npy").tolist() == [0, 1, 2]
    assert not isinstance(read_array(tmp_path / "a.npy"), np.memmap)
    open_array(tmp_path / "a.npy", "r+")[1] = 7
    assert read_array(tmp_path / "a.npy").tolist() == [0, 7, 2]


@pytest.mark.parametrize("columns", [None, 3])
@pytest.mark.parametrize("pieces", [[], [0], [1, 0, 12], [9_999_999, 1]])
def test_rows_that_come_in_pieces_are_written_as_numpy_writes_them(tmp_path, columns, pieces):
    pieces = pieces if columns is None else [rows % 100 for rows in pieces]
    shape = () if columns is None else (columns,)
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 9, (n, *shape)).astype(np.int8) for n in pieces]
    with ArrayWriter(tmp_path / "a.npy", np.int8, columns) as writer:
        for piece in rows:
            writer.append(piece)
    assert writer.rows == sum(pieces)
    np.save(tmp_path / "b.npy", np.concatenate([np.empty((0, *shape), np.int8), *rows]))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
