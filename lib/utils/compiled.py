"""`njit` of numba whose cache on disk is used only if its bytes are those that were written.

numba unpickles a cached function and runs its machine code. Where a disk or a copy has changed it,
that ends in a traceback or in a crash; here the function is compiled again. The cache is code, and
trusted as the sources beside it: whoever can write there can have anything run.
"""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import Cache, IndexDataCacheFile

DIGEST_BYTES = 32


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator as `numba.njit` with these options."""

    def compile_function(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(**options)(function)
        if isinstance(compiled._cache, Cache):
            compiled._cache._cache_file.__class__ = _CheckedFile
        return compiled

    return compile_function


class _CheckedFile(IndexDataCacheFile):
    """The files of a cached function, each with the SHA-256 of its content at its end.

    Unpickling ignores what follows the content, so numba's own methods read these files.
    """

    def _dump(self, value: Any) -> bytes:
        content = super()._dump(value)
        return content + hashlib.sha256(content).digest()

    def _load_index(self) -> dict:
        version = pickle.dumps(self._version, protocol=-1)
        return super()._load_index() if _is_intact(Path(self._index_path), version) else {}

    def _load_data(self, name: str) -> Any:
        if not _is_intact(Path(self._data_path(name)), b""):
            raise OSError("numba takes a file that cannot be read for none")
        return super()._load_data(name)


def _is_intact(path: Path, start: bytes) -> bool:
    """Whether a file begins so, and ends with the digest of what lies between."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    content = data[len(start) : -DIGEST_BYTES]
    is_whole = hashlib.sha256(content).digest() == data[-DIGEST_BYTES:]
    return data.startswith(start) and is_whole
