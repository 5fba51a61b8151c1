import pytest

from lib.data.decoding.undecodable import foreign_kind


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf<HTML>", "an HTML page, not an image"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0heic", "HEIC, which is not read; save it as JPEG"),
        (b"<svg xmlns='x'/>", "an SVG drawing, not pixels"),
        (b"PK\x03\x04", "a ZIP archive, not an image"),
        (b"\x01\x02", "not an image"),
    ],
)
def test_a_foreign_file_is_named(data, reason):
    assert foreign_kind(data) == reason
