"""The cache of compiled functions, which numba unpickles and runs."""

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

from tests.fuzz.family import Family, write
from tests.utils.test_compiled import SOURCE


def _load(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("cached_functions", folder / "cached.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _compile(folder: Path) -> list[Path]:
    """The index and the code of a function in a cache of its own."""
    import os

    if not (folder / "cached.py").exists():
        write(folder / "cached.py", SOURCE.encode())
        os.utime(folder / "cached.py", (10**9, 10**9))  # the index holds it
    _load(folder).triple(5)
    return sorted((folder / "__pycache__").glob("*.nb?"), reverse=True)


def make_seeds(folder: Path) -> list[bytes]:
    """An index and the code; the first byte says which. Their paths differ from run to run."""
    return [bytes([n]) + path.read_bytes() for n, path in enumerate(_compile(folder))]


def prepare(inside: Path) -> None:
    """A whole cache."""
    _compile(inside)


def read(data: bytes, inside: Path) -> None:
    """Call the function with another file in its cache."""
    files = sorted((inside / "__pycache__").glob("*.nb?"), reverse=True) or _compile(inside)
    write(files[(data[0] if data else 0) % len(files)], data[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if _load(inside).triple(7) != 21:
            raise AssertionError("the compiled function is another")


FAMILIES = [Family("compiled", make_seeds, read, prepare, weight=0.02, is_slow=True)]
