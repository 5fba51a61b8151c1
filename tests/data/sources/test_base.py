import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.data.sources import base
from lib.data.sources.base import (
    ImageHash,
    Listing,
    hash_files,
    id_from_name,
    ids_of_keys,
    list_class_files,
    list_files,
    root_of,
)
from lib.errors import UserError
from tests.conftest import jpeg
from tests.data.source_index import index_source


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    """40 products of three classes, with 0 to 3 images each."""
    counts = np.arange(40, dtype=np.int32) % 4
    names = [f"{i}-{j}.jpg" for i in range(40) for j in range(counts[i])]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(jpeg(number))
    return Listing(
        unit="line",
        location=np.arange(2, 42),
        keys=[f"p{i}" for i in range(40)],
        labels=[f"C{i % 3}" for i in range(40)],
        image_count=counts,
        files=names,
        hash_images=hash_files(tmp_path, names),
    )


def test_chunks_do_not_change_the_index_and_an_interrupted_call_resumes(
    tmp_path, listing, monkeypatch
):
    index_source(tmp_path / "one", tmp_path, tmp_path, listing)
    monkeypatch.setattr(base, "CHUNK_IMAGES", 7)
    monkeypatch.setattr(base, "BLOCK_IMAGES", 2)
    hashed: list[int] = []

    def interrupted_after(last_image: int) -> Listing:
        def hash_images(first: int, last: int) -> list[ImageHash]:
            if first > last_image:
                raise KeyboardInterrupt
            hashed.append(first)
            return listing.hash_images(first, last)

        return replace(listing, hash_images=hash_images)

    with pytest.raises(KeyboardInterrupt):
        index_source(tmp_path / "many", tmp_path, tmp_path, interrupted_after(30))
    num_chunks = len(list((tmp_path / "many" / "chunks").iterdir()))
    assert num_chunks >= 3
    hashed.clear()
    index_source(tmp_path / "many", tmp_path, tmp_path, interrupted_after(10**9))
    assert min(hashed) >= 7 * num_chunks
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "many").iterdir())
    for name in names:
        one, many = (tmp_path / folder / name for folder in ("one", "many"))
        assert one.read_bytes() == many.read_bytes()


def test_ids_from_names_do_not_reveal_the_row():
    names = [f"p{i:04d}" for i in range(500)]
    ids = [id_from_name(name) for name in names]
    assert len(set(ids)) == 500
    assert min(ids) >= 0
    assert max(ids) < 1 << 62
    rank = np.argsort(ids)
    assert abs(np.corrcoef(rank, np.arange(500))[0, 1]) < 0.2


def test_files_are_listed_sorted_by_suffix_in_any_case(tmp_path):
    for name in ("b/x.JPG", "a.jpg", "c.txt", "b/.hidden.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list_files(tmp_path, ".jpg") == ["a.jpg", "b/x.JPG"]


def test_a_name_that_is_not_utf8_is_an_error(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.jpg")).touch()
    with pytest.raises(UserError, match="is not UTF-8; rename the file"):
        list_files(tmp_path, ".jpg")


def test_files_of_some_classes_are_listed(tmp_path):
    for name in ("cat.npy", "dog.npy", "big dog.npy"):
        (tmp_path / name).touch()
    assert list_class_files(tmp_path, ".npy") == ["big dog.npy", "cat.npy", "dog.npy"]
    assert list_class_files(tmp_path, ".npy", ["dog"]) == ["dog.npy"]
    assert list_class_files(tmp_path / "cat.npy", ".npy") == ["cat.npy"]
    with pytest.raises(UserError, match=r"no file dig\.npy for the class 'dig'.*mean dog\?"):
        list_class_files(tmp_path, ".npy", ["dig"])


def test_the_root_of_a_single_file_is_its_folder(tmp_path):
    (tmp_path / "a.npy").touch()
    assert root_of(tmp_path / "a.npy") == root_of(tmp_path) == tmp_path


def test_an_unreadable_file_counts_as_empty(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"abc")
    names = ["a.jpg", "none.jpg", "zero\0byte.jpg"]
    empty = (0, 0, hashlib.md5(b"").digest())
    expected = [(0, 3, hashlib.md5(b"abc").digest()), empty, empty]
    assert hash_files(tmp_path, names)(0, 3) == expected


def test_a_named_pipe_counts_as_missing_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "p.jpg")
    assert [length for _, length, _ in hash_files(tmp_path, ["p.jpg"])(0, 1)] == [0]


def test_numbers_in_their_plain_form_are_ids_and_other_keys_names():
    keys = ["30", "-4", "0", "007", "1e3", "", "x", "+5", "9" * 5000, str(1 << 62)]
    expected = [30, -4, 0, *(id_from_name(key) for key in keys[3:])]
    assert ids_of_keys(keys).tolist() == expected
