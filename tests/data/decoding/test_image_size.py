"""Sizes from headers against the pixels that are shown."""

import pytest
from PIL import Image

from lib.data.decoding.decode import decode_image
from lib.data.decoding.image_size import image_size
from tests.data.decoding.test_decode import ORIENTATION, STORED, encoded, quarters


@pytest.mark.parametrize("orientation", [None, *STORED, 9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_the_size_is_that_of_the_decoded_image(kind, orientation):
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    data = encoded(quarters(32, 48), kind, exif=exif)
    assert image_size(data) == decode_image(data).shape[:2]


@pytest.mark.parametrize("kind", ["GIF", "BMP", "PPM"])
def test_the_size_of_files_without_metadata(kind):
    assert image_size(encoded(quarters(30, 50), kind)) == (30, 50)


def test_the_first_bytes_of_a_jpeg_are_enough_or_say_nothing():
    data = encoded(quarters(300, 520), "JPEG")
    known = [image_size(data[:stop], whole=False) for stop in range(2, len(data), 3)]
    assert set(known) == {None, (300, 520)}
    assert known[len(known) // 2 :].count(None) == 0


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_has_no_size(data):
    assert image_size(data) is None
