"""Which kind of products `--new` names, and where their artifacts lie."""

from pathlib import Path

import numpy as np
import pytest

from lib.errors import UserError
from lib.pipeline.predict_target import MAX_NAME_LENGTH, SMALL, predict_target, slug


def test_a_folder_of_arrays_is_npy_and_one_with_an_image_is_folders(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 4), np.uint8))
    assert predict_target(str(tmp_path)).source == "npy"
    (tmp_path / "x.jpg").write_bytes(b"x")
    assert predict_target(str(tmp_path)).source == "folders"


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("x.bson", "bson"),
        ("X.BSON", "bson"),
        ("x.csv", "csv"),
        ("x.npy", "npy"),
        ("x.ndjson", "strokes"),
        ("x.ndjson.gz", "strokes"),
        ("x.JPG", "folders"),
    ],
)
def test_the_suffix_of_a_file_names_its_kind(tmp_path, name, source):
    (tmp_path / name).write_bytes(b"x")
    assert predict_target(str(tmp_path / name)).source == source


def test_a_folder_of_drawings_may_hold_compressed_ones_too(tmp_path):
    for name in ("a.ndjson", "b.ndjson.gz"):
        (tmp_path / name).write_bytes(b"x")
    assert predict_target(str(tmp_path)).source == "strokes"


def test_a_path_is_absolute_and_every_spelling_has_the_same_slug(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    targets = [predict_target(name) for name in (f"{tmp_path}/b/../a/", "a", "./a", "b/../a")]
    assert {target.path for target in targets} == {tmp_path / "a"}
    assert len({target.slug for target in targets}) == 1


def test_files_are_small_together(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.jpg").write_bytes(b"x" * (SMALL // 2))
    assert predict_target(str(tmp_path)).is_small
    assert predict_target(str(tmp_path / "a.jpg")).is_small
    (tmp_path / "c.jpg").write_bytes(b"x")
    assert not predict_target(str(tmp_path)).is_small


def test_a_slug_holds_the_name_and_a_digest_of_the_whole_path():
    assert slug(Path("/a/new.bson")) != slug(Path("/b/new.bson"))
    assert slug(Path("/a/new 1.bson")).startswith("new-1-bson-")
    assert slug(Path("/a") / ("x" * 300)).startswith("x" * MAX_NAME_LENGTH + "-")
    assert len(slug(Path("/a") / ("x" * 300))) == MAX_NAME_LENGTH + 9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.bson", "no such file or folder; --new takes a .bson, .csv, .npy, .ndjson"),
        ("", "--new takes a .bson"),
        ("empty.bson", "the file is empty"),
        ("words.txt", "unknown kind of file"),
        ("bare", "the folder is empty"),
        ("words.txt/below", "cannot be read"),
    ],
)
def test_what_cannot_be_classified_is_a_user_error(tmp_path, name, message):
    (tmp_path / "empty.bson").touch()
    (tmp_path / "words.txt").write_text("words")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=message):
        predict_target(str(tmp_path / name) if name else "")
