"""A damaged file of a booster is named before its library, which may end the process, parses it."""

import subprocess

import pytest

from lib.errors import UserError
from lib.stacking.boosters import model_file, registry
from tests.stacking.boosters.toy_tasks import fitted, table

NAMES = ["xgboost", "lightgbm", "catboost", "extra_trees"]


@pytest.fixture(scope="module")
def models():
    return {name: fitted(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_library_sees_a_byte_that_it_did_not_write(name, models, tmp_path, monkeypatch):
    path = tmp_path / "fold-0.bin"
    registry.save(models[name], path)
    data, x = path.read_bytes(), table(50, 1)[0]
    assert (registry.load(name, path).predict(x) == models[name].predict(x)).all()
    module = registry.module_of(name)
    monkeypatch.setattr(module, "load", lambda *_: pytest.fail("the library was called"))
    for at in (0, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(UserError, match="is damaged: its SHA-256 is another"):
            registry.load(name, path)
    path.write_bytes(data[:-1])
    assert not model_file.is_intact(path)


def test_a_digest_that_is_gone_or_damaged(tmp_path):
    path = tmp_path / "m.ubj"
    model_file.save(path, lambda temporary: temporary.write_bytes(b"model"))
    assert model_file.load(path) == b"model"
    digest = tmp_path / "m.ubj.sha256"
    for damage in (b"", b"\xff\xfe", b"0" * 64):
        digest.write_bytes(damage)
        with pytest.raises(UserError, match="damaged"):
            model_file.load(path)
    digest.unlink()
    with pytest.raises(UserError, match="sha256 is missing; delete the folder"):
        model_file.load(path)
    model_file.remove(path)
    assert list(tmp_path.iterdir()) == []
    assert not model_file.is_intact(path)


def test_the_digest_is_what_sha256sum_checks(tmp_path):
    model_file.save(tmp_path / "m.ubj", lambda temporary: temporary.write_bytes(b"model"))
    subprocess.run(["sha256sum", "-c", "m.ubj.sha256"], cwd=tmp_path, check=True)
