import io

import numpy as np
import pytest
from PIL import Image

from lib.data.decoding.decode import decode_image
from lib.data.decoding.jpeg import check_scans, decode_jpeg, read_header
from lib.data.decoding.undecodable import UndecodableError


def photo(**options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (160, 48, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).save(sink, "JPEG", quality=90, **options)
    return sink.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
def test_the_header_tells_the_size_and_the_exif(progressive):
    exif = Image.Exif()
    exif[0x0112] = 3
    header = read_header(photo(exif=exif, progressive=progressive))
    assert header.num_pixels == 160 * 48
    assert header.exif == exif.tobytes()
    assert read_header(photo()).exif == b""


@pytest.mark.parametrize("stop", range(2, 40))
def test_a_header_that_ends_anywhere_is_no_error(stop):
    assert read_header(photo()[:stop]).num_pixels in (0, 160 * 48)


def test_few_missing_rows_are_borne_and_many_are_not():
    """The rows of the file lie one after the other, so a cut leaves out the last ones."""
    data = photo()
    image = decode_jpeg(data[: int(len(data) * 0.97)])
    assert image.shape == (160, 48, 3)
    with pytest.raises(UndecodableError, match="cut off"):
        decode_jpeg(data[: int(len(data) * 0.8)])
    assert decode_jpeg(b"\xff\xd8\xff") is None


def progressive(scans, side=16):
    """A progressive JPEG whose last scan is repeated."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 60)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    return data[:-2] + data[data.rfind(b"\xff\xda") : -2] * scans + data[-2:]


def test_a_file_of_very_many_scans_is_not_decoded():
    assert decode_image(progressive(3)).shape == (16, 16, 3)
    with pytest.raises(UndecodableError, match="scans of 256 pixels; save it again"):
        decode_image(progressive(5000))


def test_many_scans_of_a_large_picture_are_fewer():
    check_scans(b"\xff\xda" * 10, 178_000_000)
    check_scans(b"\xff\xda", 1 << 40)
    with pytest.raises(UndecodableError, match="13 scans of 178,000,000 pixels"):
        check_scans(b"\xff\xda" * 13, 178_000_000)
