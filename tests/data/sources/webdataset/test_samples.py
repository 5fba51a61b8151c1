"""Samples of tars, against the package `webdataset` where it is installed."""

import io
import json
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.sources.webdataset.samples import iter_values, read_shard, split_name
from lib.data.sources.webdataset.tar_file import TarScan
from tests.data.sources.webdataset.test_tar_file import write_tar

REG = tarfile.REGTYPE


def samples_of(data: bytes) -> dict[str, dict[str, bytes]]:
    """Key, suffix and content of every member, by this module."""
    scan = TarScan()
    shard = read_shard(data, scan)
    assert not scan.corrupt
    found: dict[str, dict[str, bytes]] = {key: {} for key in shard.keys}
    rows = zip(shard.sample, shard.suffix, shard.offset, shard.length, strict=True)
    for sample, suffix, offset, length in rows:
        found[shard.keys[sample]][shard.suffixes[suffix]] = data[offset : offset + length]
    return found


def samples_by_webdataset(data: bytes) -> dict[str, dict[str, bytes]]:
    wds = pytest.importorskip("webdataset.tariterators")
    source = [{"url": "x.tar", "stream": io.BytesIO(data)}]
    samples = wds.group_by_keys(wds.tar_file_expander(source))
    return {s["__key__"]: {k: v for k, v in s.items() if k[:2] != "__"} for s in samples}


folders = st.sampled_from(["", "a/", "a/b.c/", "./"])
stems = st.text("ab0-_ É", min_size=1, max_size=3)
suffixes = st.sampled_from(["jpg", "JPG", "cls", "json", "0.jpg", "seg.png", "txt"])
shards = st.dictionaries(
    st.tuples(folders, stems).map("".join),
    st.dictionaries(suffixes.map(str.lower), st.binary(max_size=20), min_size=1, max_size=4),
    max_size=5,
)


@given(shards, st.booleans(), st.lists(st.sampled_from(["__meta__/x.jpg", "README", "a/none"])))
def test_samples_are_those_of_webdataset(wanted, upper, others):
    members = [
        (f"{key}.{suffix.upper() if upper else suffix}", content, REG)
        for key, sample in wanted.items()
        for suffix, content in sample.items()
    ]
    data = write_tar([*members, *((name, b"", REG) for name in set(others))])
    assert samples_of(data) == wanted == samples_by_webdataset(data)


@given(shards, st.randoms())
def test_the_order_of_members_does_not_matter(wanted, random):
    members = [(f"{k}.{s}", c, REG) for k, sample in wanted.items() for s, c in sample.items()]
    random.shuffle(members)
    assert samples_of(write_tar(members)) == wanted


def test_names_split_at_the_first_dot_of_the_file():
    assert split_name("a.b/c.d/x.0.JPG") == ("a.b/c.d/x", "0.jpg")
    for name in ("README", "a/.hidden.jpg", "__meta__/a.jpg", "a.", "a/._b.jpg"):
        assert split_name(name) == ("", ""), name


def test_a_second_member_of_one_name_is_reported():
    data = write_tar([("a.jpg", b"1", REG), ("a.cls", b"2", REG), ("a.JPG", b"3", REG)])
    scan = TarScan()
    shard = read_shard(data, scan)
    assert [(c.offset, c.reason) for c in scan.corrupt] == [(2048, "a second member of one name")]
    assert len(shard.sample) == 2


def values_of(members: list[tuple[str, bytes]], *columns: str) -> list:
    data = write_tar([(name, content, REG) for name, content in members])
    return list(iter_values(read_shard(data, TarScan()), data, columns))


def test_columns_are_members_or_keys_of_json():
    document = {"id": 7, "cls": "of json", "none": None, "title": " Tee\n", "yes": True, "p": 1.5}
    members = [
        ("a.jpg", b""),
        ("a.cls", b" 3\n"),
        ("a.json", b"\xef\xbb\xbf" + json.dumps(document).encode()),
        ("b.jpg", b""),
        ("c.txt", "Größe".encode()),
    ]
    columns = ("", "cls", "id", "none", "title", "yes", "p", "TXT", "other")
    assert values_of(members, *columns) == [
        ["a", "3", "7", "", "Tee", "True", "1.5", None, None],
        ["b", *[None] * 8],
        ["c", *[None] * 6, "Größe", None],
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "a .json that is not JSON"),
        (b"[" * 100_000, "a .json that is not JSON"),
        (b"[1]", "a .json that is no table"),
        (b"\xff", "a text that is not UTF-8"),
        (b'{"k": [1]}', "k of a .json is a list or a table"),
        (b'{"k": "\\ud800"}', "k of a .json is no text"),
    ],
)
def test_a_json_that_cannot_be_read_is_named(content, reason):
    assert values_of([("a.json", content)], "k")[0].startswith(reason)
