"""Members of tars, against the standard library's `tarfile`; covers `tar_kernels.py` too."""

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.sources.webdataset import tar_file
from lib.data.sources.webdataset.tar_file import TarScan, iter_members, map_tar
from lib.errors import UserError

FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}
Member = tuple[str, bytes, bytes]  # name, content, type


def write_tar(members: list[Member], form: int = tarfile.GNU_FORMAT, mtime: float = 0) -> bytes:
    """A tar as `tarfile` writes it."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.mtime = kind, mtime
            info.linkname = "target" * 30 if kind in (tarfile.LNKTYPE, tarfile.SYMTYPE) else ""
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def files(*names: str) -> list[Member]:
    return [(name, f"content of {name}".encode() * 40, tarfile.REGTYPE) for name in names]


def read(data: bytes) -> tuple[list[tuple[str, bytes]], TarScan]:
    """Names and contents, by this module."""
    scan = TarScan()
    found = []
    for block in iter_members(data, scan):
        places = zip(block.names, block.offset.tolist(), block.length.tolist(), strict=True)
        found += [(name, data[at : at + length]) for name, at, length in places]
    return found, scan


def read_by_tarfile(data: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar if m.isreg()]


letters = st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), min_size=1)
short = st.lists(letters, min_size=1, max_size=3).map("/".join)
long = st.tuples(short, st.integers(90, 300)).map(lambda t: f"{'folder/' * (t[1] // 7)}{t[0]}")
kinds = st.sampled_from([tarfile.REGTYPE] * 4 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
members = st.tuples(short | long, st.binary(max_size=1200), kinds)


@given(st.lists(members, max_size=6), st.sampled_from(["pax", "gnu"]), st.sampled_from([0, 1.5]))
def test_members_are_those_of_tarfile(written, form, mtime):
    data = write_tar(written, FORMATS[form], mtime)
    found, scan = read(data)
    assert found == read_by_tarfile(data)
    assert not scan.corrupt
    assert scan.has_end
    assert scan.links == sum(kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) for *_, kind in written)


@pytest.mark.parametrize("name", ["a.jpg", "f" * 80 + "/" + "n" * 80, "x" * 100, "x" * 99 + "/b"])
def test_ustar_names_have_a_prefix(name):
    data = write_tar(files(name, "b.cls"), tarfile.USTAR_FORMAT)
    assert [found for found, _ in read(data)[0]] == [name, "b.cls"]


def test_blocks_of_members_join(monkeypatch):
    monkeypatch.setattr(tar_file, "MAX_MEMBERS", 3)
    written = files(*(f"{'long' * 40}{n}.jpg" for n in range(10)))
    for form in FORMATS.values() if written else ():
        if form != tarfile.USTAR_FORMAT:
            assert read(write_tar(written, form))[0] == [(n, c) for n, c, _ in written]


def test_a_member_after_a_damaged_header_is_found():
    data = bytearray(write_tar(files("a.jpg", "b.jpg", "c.jpg")))
    second = data.index(b"b.jpg")
    data[second + 2] ^= 255
    found, scan = read(bytes(data))
    assert [name for name, _ in found] == ["a.jpg", "c.jpg"]
    (damage,) = scan.corrupt
    third = data.index(b"c.jpg")
    assert (damage.offset, damage.length) == (second, third - second)
    assert damage.reason == "a damaged header"


def test_missing_bytes_do_not_hide_later_members():
    data = write_tar(files("a.jpg", "b.jpg", "c.jpg"))
    at = data.index(b"b.jpg") + 700
    found, scan = read(data[:at] + data[at + 33 :])
    assert [name for name, _ in found] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [part.reason for part in scan.corrupt] == ["a damaged header"]


@pytest.mark.parametrize("form", FORMATS.values())
def test_a_cut_is_noticed_at_every_byte(form):
    data = write_tar(files("a.jpg", "b.jpg"), form, mtime=1.5 if form == tarfile.PAX_FORMAT else 0)
    whole = read(data)[0]
    last = data.index(b"content of b.jpg") + len(whole[1][1])
    for size in range(1, last, 37):
        found, scan = read(data[:size])
        assert found == whole[: len(found)]
        assert len(found) < 2
        assert scan.corrupt or not scan.has_end
    found, scan = read(data[:last])
    assert found == whole
    assert not scan.has_end


def test_archives_that_are_put_together_are_read_and_reported():
    data = write_tar(files("a.jpg")) + write_tar(files("b.jpg")) + write_tar(files("c.jpg"))
    found, scan = read(data)
    assert [name for name, _ in found] == ["a.jpg", "b.jpg", "c.jpg"]
    assert scan.joined == 2


def test_sparse_members_and_odd_names_are_passed_over():
    sparse = tarfile.TarInfo("a.jpg")
    sparse.type = tarfile.GNUTYPE_SPARSE
    pax = tarfile.TarInfo("b.jpg")
    pax.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "b.jpg"}
    odd = tarfile.TarInfo("c\udcff.jpg")
    data = b"".join(
        [
            sparse.tobuf(tarfile.GNU_FORMAT),
            pax.tobuf(tarfile.PAX_FORMAT),
            odd.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"),
            write_tar(files("d.jpg")),
        ]
    )
    found, scan = read(data)
    assert [name for name, _ in found] == ["d.jpg"]
    assert [part.reason.split(":")[0] for part in scan.corrupt] == [
        "a sparse member",
        "a sparse member",
        "a name that is not UTF-8",
    ]


def test_sizes_beyond_the_octal_field_are_read():
    info = tarfile.TarInfo("a.jpg")
    for size in (8**11 + 5, 1 << 40):
        info.size = size
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            found, scan = read(info.tobuf(form) + bytes(1024))
            assert not found
            assert scan.corrupt[0].reason == "the file ends inside a member"


def test_compressed_and_empty_files_and_others_are_named(tmp_path):
    for name, content, words in (
        ("a.tar", b"\x1f\x8b\x08 and more", "run `gunzip a.tar`"),
        ("a.tar.gz", b"anything", "run `gunzip a.tar.gz`"),
        ("b.tar", b"", "the file is empty"),
        ("c.tar", b"\xfd7zXZ\x00", "not a tar archive but an xz archive; unpack it first"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=words), map_tar(tmp_path / name):
            pass
    assert read(b"no tar at all" * 100)[1].corrupt[0].reason == "no header: not a tar"
