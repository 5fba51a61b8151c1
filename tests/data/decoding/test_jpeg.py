import io

import numpy as np
import pytest
from PIL import Image

from lib.data.decoding.jpeg import decode_jpeg, read_header
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
