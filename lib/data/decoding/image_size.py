"""Height and width of an image file as it is shown, from its header, without its pixels."""

import io

from PIL import Image

from lib.data.decoding import jpeg
from lib.data.decoding.decode import FORMATS, ORIENTATION, exif_orientation

TURNED = range(5, 9)  # EXIF orientations that swap height and width


def image_size(data: bytes, whole: bool = True) -> tuple[int, int] | None:
    """(height, width) of an image file; None if its header does not tell.

    data: the bytes of the file. whole: whether these are all of them; the first bytes of a JPEG
    are enough if they reach its frame, other files are read whole.
    """
    if data.startswith(jpeg.START):
        header = jpeg.read_header(data)
        if header.num_pixels:
            turned = exif_orientation(header.exif) in TURNED
            return (header.width, header.height) if turned else (header.height, header.width)
    return _size_by_pillow(data) if whole else None


def _size_by_pillow(data: bytes) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            # Pillow turns TIFFs by itself.
            turned = image.format != "TIFF" and image.getexif().get(ORIENTATION) in TURNED
    except Exception:  # Pillow raises whatever a damaged file leads it to
        return None
    return (width, height) if turned else (height, width)
