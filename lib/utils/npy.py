"""Read .npy files that may be damaged: without pickle, and within the bytes that they have."""

import tokenize
from pathlib import Path
from typing import BinaryIO, Literal

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


def read_next(file: BinaryIO) -> np.ndarray:
    """The array that begins where the file stands. Raises ValueError if there is none."""
    try:
        return np.lib.format.read_array(file, allow_pickle=False)
    except (*DAMAGE, tokenize.TokenError, MemoryError) as error:
        raise ValueError(f"not a complete array: {error}") from None
