"""A damaged cache of compiled functions is compiled again."""

import importlib.util
import sys

import pytest

SOURCE = """
from lib.utils.compiled import njit

@njit(cache=True)
def triple(x):
    return 3 * x
"""


@pytest.fixture
def load_module(tmp_path, monkeypatch):
    """Import the source anew, as another process does; its cache lies beside it."""
    (tmp_path / "cached_functions.py").write_text(SOURCE)

    def load():
        spec = importlib.util.spec_from_file_location(
            "cached_functions", tmp_path / "cached_functions.py"
        )
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "cached_functions", module)
        spec.loader.exec_module(module)
        return module

    return load


def test_a_damaged_cache_is_compiled_again(load_module, tmp_path):
    assert load_module().triple(5) == 15
    (index,), (data,) = (list(tmp_path.glob(f"__pycache__/*.{end}")) for end in ("nbi", "nbc"))
    module = load_module()
    assert module.triple(5) == 15
    assert module.triple.stats.cache_hits
    for path in (index, data):
        whole = path.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 8]) + whole[middle + 1 :]
        for damage in (b"", flipped, whole[:-1], b"\x81" + whole[1:], bytes(len(whole))):
            path.write_bytes(damage)
            module = load_module()
            assert module.triple(5) == 15
            assert not module.triple.stats.cache_hits
            module = load_module()  # it was written anew
            assert module.triple(5) == 15
            assert module.triple.stats.cache_hits
