"""Paths that stand for several files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import UserError
from lib.pipeline.fingerprint import fingerprint
from lib.pipeline.shards import expand, is_pattern, list_shards, root_of_shards

TAR = (".tar",)


@pytest.fixture
def folder(tmp_path):
    for name in ("a-0.tar", "a-1.tar", "b/a-2.tar", ".hidden.tar", ".h/a.tar", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def names(root: Path, pattern: str) -> list[str]:
    return [p.relative_to(root).as_posix() for p in list_shards(root / pattern, TAR)]


def test_files_folders_and_patterns_stand_for_files(folder):
    assert names(folder, "a-1.tar") == ["a-1.tar"]
    assert names(folder, "") == ["a-0.tar", "a-1.tar", "b/a-2.tar"]
    assert names(folder, "a-{1..0}.tar") == ["a-1.tar", "a-0.tar"]
    assert names(folder, "*.tar") == ["a-0.tar", "a-1.tar"]
    assert names(folder, "{b/a-2,a-?}.tar") == ["b/a-2.tar", "a-0.tar", "a-1.tar"]
    assert names(folder, "**/a-[02].tar") == ["a-0.tar", "b/a-2.tar"]


def test_the_root_is_what_has_no_signs(folder):
    assert root_of_shards(folder / "a-0.tar") == root_of_shards(folder / "*.tar") == folder
    assert root_of_shards(folder / "{a,b}" / "x.tar") == root_of_shards(folder) == folder
    assert root_of_shards(folder / "b" / "a-*.tar") == folder / "b"


def test_a_file_whose_name_has_signs_is_itself(folder):
    path = folder / "a[1].tar"
    path.touch()
    assert not is_pattern(path)
    assert list_shards(path, TAR) == [path]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a-{0..2}.tar", "a-2.tar: no such file; a-{0..2}.tar stands for it"),
        ("c*.tar", "c*.tar: no file fits this pattern"),
        ("{0..99999999}.tar", "stands for more than 100,000 files"),
        ("{0..999}{0..999}.tar", "stands for more than 100,000 files"),
    ],
)
def test_what_no_file_fits_is_an_error(folder, pattern, message):
    with pytest.raises(UserError) as error:
        list_shards(folder / pattern, TAR)
    assert message in str(error.value)


def test_a_folder_without_shards_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no file of the kinds \.tar"):
        list_shards(tmp_path, TAR)


pieces = st.recursive(
    st.sampled_from(["a", "b-", "{1..3}", "{08..11}", "{5..1..2}", "{3..3}", "{-1..01}"]),
    lambda inner: st.lists(inner, min_size=2, max_size=3).map(lambda c: "{" + ",".join(c) + "}"),
    max_leaves=5,
)


@given(st.lists(pieces, min_size=1, max_size=2).map("".join))
def test_braces_stand_for_what_the_webdataset_package_reads(text):
    braceexpand = pytest.importorskip("braceexpand")
    assert sorted(expand(text)) == sorted(set(braceexpand.braceexpand(text)))


def test_the_fingerprint_of_a_pattern_follows_its_files(folder):
    def fresh():
        fingerprint.cache_clear()
        return fingerprint(folder / "a-*.tar")

    first = fresh()
    assert first == fresh()
    (folder / "a-1.tar").write_bytes(b"a-2.tar")  # as many bytes
    second = fresh()
    (folder / "a-2.tar").write_bytes(b"x")
    assert len({first, second, fresh()}) == 3
    with pytest.raises(UserError, match="no file fits"):
        fingerprint(folder / "z-*.tar")
