"""Damaged artifacts are found where they are read, and built again on request."""

from pathlib import Path

import pytest

from lib.errors import UserError
from lib.pipeline import integrity, manifest
from lib.pipeline.artifact import Artifact, ensure, status
from lib.pipeline.integrity import check_intact, verify


@pytest.fixture(autouse=True)
def nothing_compared():
    integrity._intact.clear()


def artifact(path: Path, content: bytes, **options) -> Artifact:
    def build(folder: Path) -> None:
        (folder / "data").write_bytes(content)

    return Artifact(path, build, **options)


def flip(path: Path, place: int) -> None:
    """Change one bit of a file, and no size or name."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.fixture
def chain(tmp_path) -> tuple[Artifact, Artifact]:
    """Two artifacts; the second reads the first, and is not built yet."""
    first = artifact(tmp_path / "first", b"12345678")
    ensure(first, rebuild=False)
    return first, artifact(tmp_path / "second", b"0", inputs={"first": first})


def test_a_flipped_bit_is_found_before_it_is_read(chain):
    first, second = chain
    flip(first.path / "data", 3)
    assert status(first).fresh  # nobody has looked
    with pytest.raises(UserError, match=r"first/data is damaged.* pass --rebuild"):
        ensure(second, rebuild=False)
    assert not second.path.exists()
    assert str(status(first)) == "stale (data is damaged or gone)"
    with pytest.raises(UserError, match="stale"):
        ensure(first, rebuild=False)
    assert ensure(first, rebuild=True)
    assert (first.path / "data").read_bytes() == b"12345678"
    assert ensure(second, rebuild=False)


def test_an_artifact_is_compared_once(chain):
    first, second = chain
    check_intact(first.path)
    flip(first.path / "data", 3)
    assert ensure(second, rebuild=False)  # as in a process that has read it already
    assert verify([first.path]) == (1, [first.path / "data"])


def test_what_is_not_complete_is_left_to_others(tmp_path):
    check_intact(tmp_path / "nothing")
    assert verify([tmp_path / "nothing"]) == (0, [])


def test_large_files_are_compared_by_samples_and_by_verify_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "LARGE", 1000)
    monkeypatch.setattr(manifest, "SAMPLE_BYTES", 10)
    large = artifact(tmp_path / "large", bytes(2000))
    ensure(large, rebuild=False)
    flip(large.path / "data", 60)  # between two samples
    check_intact(large.path)
    assert verify([large.path]) == (1, [large.path / "data"])
    for place in (0, 1999):
        flip(large.path / "data", place)
        integrity._intact.clear()
        with pytest.raises(UserError, match="is damaged"):
            check_intact(large.path)
        flip(large.path / "data", place)


def test_a_file_that_is_gone_is_damage(chain):
    first, _ = chain
    (first.path / "data").unlink()
    assert verify([first.path]) == (1, [first.path / "data"])
