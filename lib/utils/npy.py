"""Read .npy files that may be damaged, within the bytes that they have; write them by rows"""

import tokenize
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self

import numpy as np

# What numpy's parser of the header raises for bytes that it did not write.
DAMAGE = (ValueError, EOFError, TypeError, OverflowError, SyntaxError, RecursionError, KeyError)


def open_array(path: Path, mode: Literal["r", "r+"] = "r") -> np.memmap:
    """The memory-mapped array of a file. Raises ValueError if it is none, OSError as `open` does.

    The header says how many bytes follow; the mapping fails if the file has fewer.
    """
    try:
        return np.lib.format.open_memmap(path, mode)
    except (*DAMAGE, tokenize.TokenError, MemoryError) as error:
        raise ValueError(f"not a complete .npy file: {error}") from None


def read_array(path: Path) -> np.ndarray:
    """The array of a file in memory. Raises ValueError if it is none, OSError as `open` does."""
    mapped = open_array(path)
    return np.array(mapped)


class ArrayWriter:
    """Writes the bytes that `np.save` writes, some rows at a time.

    with ArrayWriter(path, np.int16) as writer:
        writer.append(rows)

    columns: of a table; None for a vector. The number of rows is put into the header at the end;
    numpy leaves room for it.
    """

    def __init__(self, path: Path, dtype: Any, columns: int | None = None) -> None:
        self.dtype, self.shape = np.dtype(dtype), () if columns is None else (columns,)
        self.rows = 0
        self._file = path.open("wb")
        self._write_header()
        self._start = self._file.tell()

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows: [n], or [n, columns]."""
        assert rows.shape[1:] == self.shape, f"rows of shape {rows.shape[1:]}, not {self.shape}"
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self.rows += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._file:
            if error is None:
                self._file.seek(0)
                self._write_header()
                assert self._file.tell() == self._start, "the header has another length"

    def _write_header(self) -> None:
        descr = np.lib.format.dtype_to_descr(self.dtype)
        header = {"descr": descr, "fortran_order": False, "shape": (self.rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def read_next(file: BinaryIO) -> np.ndarray:
    """The array that begins where the file stands. Raises ValueError if there is none."""
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except (*DAMAGE, tokenize.TokenError, MemoryError) as error:
        raise ValueError(f"not a complete array: {error}") from None
