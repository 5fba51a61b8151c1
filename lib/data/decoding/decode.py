"""Decode an image file to the pixels that a shop page shows: upright, opaque, 8 bits, RGB.

OpenCV decodes JPEGs, which most images are, because it is the fastest. Pillow decodes the rest: it
knows the transparency and the orientation of every container. Both release the interpreter lock.
"""

import ctypes
import io
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from lib.data.catalog import WHITE
from lib.data.decoding import jpeg
from lib.data.decoding.undecodable import UndecodableError, foreign_kind
from lib.data.decoding.value_range import ROWS, alpha_to_uint8, to_uint8
from lib.utils.chunks import chunks

# Pillow has many more; these are what catalogs hold, and none of them starts another program.
FORMATS = ("PNG", "WEBP", "GIF", "AVIF", "BMP", "TIFF", "JPEG", "JPEG2000", "PPM", "ICO")
MAX_PIXELS = 178_956_970  # a file of 1 kB can ask for more; Pillow's own limit
LARGE = 1 << 24  # pixels; larger images are decoded one at a time, so that memory is bounded
ORIENTATION = 0x0112  # EXIF tag

_large = threading.Lock()
# Pillow warns of large images, and of odd metadata whose pixels are sound.
warnings.filterwarnings("ignore", module=r"PIL\.")


def _silence_libtiff() -> None:
    """Keep libtiff from writing a line to the terminal for each odd tag of a file.

    Pillow has no setting for it, but its wheels bring libtiff as a file. Without one the lines
    stay.
    """
    for path in Path(Image.__file__).parents[1].glob("pillow.libs/libtiff*"):
        set_handler = ctypes.CDLL(str(path)).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


_silence_libtiff()


def decode_image(data: bytes, background: tuple[int, int, int] = WHITE) -> np.ndarray:
    """uint8 [h, w, 3] RGB of the first frame of an image file.

    background: RGB that shows where the image is transparent.
    Raises UndecodableError with the reason.
    """
    if data.startswith(jpeg.START):
        image = _decode_jpeg(data)
        if image is not None:
            return image
    try:
        return _decode_by_pillow(data, background)
    except UndecodableError:
        raise
    except UnidentifiedImageError:
        raise UndecodableError(foreign_kind(data)) from None
    except Image.DecompressionBombError:
        raise _too_large() from None
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise UndecodableError(f"damaged: {error}") from None


def _too_large() -> UndecodableError:
    return UndecodableError(f"its header asks for more than {MAX_PIXELS:,} pixels; scale it down")


def _decode_jpeg(data: bytes) -> np.ndarray | None:
    header = jpeg.read_header(data)
    num_pixels, exif = header.num_pixels, header.exif
    if num_pixels > MAX_PIXELS:
        raise _too_large()
    jpeg.check_scans(data, num_pixels)
    with _one_at_a_time(num_pixels):
        image = jpeg.decode_jpeg(data)
    return _turn(image, exif_orientation(exif)) if exif and image is not None else image


def _decode_by_pillow(data: bytes, background: tuple[int, int, int]) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        num_pixels = image.width * image.height
        if num_pixels > MAX_PIXELS:  # Pillow raises by itself, unless another library changed it
            raise _too_large()
        with _one_at_a_time(num_pixels):
            if _has_more_than_8_bits(image, data):
                return _decode_deep(image, data, background)
            image.load()
            upright = _upright(image)
            if upright.has_transparency_data:
                pixels = np.asarray(upright.convert("RGBA"))
                return _mix(pixels[..., :3], pixels[..., 3:], background)
            return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _one_at_a_time(num_pixels: int) -> AbstractContextManager[Any]:
    return _large if num_pixels > LARGE else nullcontext()


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its metadata say; metadata that cannot be read say nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _mix(rgb: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """The background behind uint8 [h, w, 3], which covers it by alpha uint8 [h, w, 1]."""
    mixed, behind = np.empty(rgb.shape, np.uint8), np.array(background, np.uint16)
    for rows in chunks(len(rgb), ROWS):  # the sums take eight times the memory of a large image
        opacity = alpha[rows].astype(np.uint16)
        mixed[rows] = (rgb[rows] * opacity + behind * (255 - opacity) + 127) // 255
    return mixed


def _has_more_than_8_bits(image: ImageFile, data: bytes) -> bool:
    """Whether a sample has more bits; Pillow cuts those of color images, so that 12 get lost."""
    if image.format == "PNG":
        return data[24] == 16
    bits = image.tag_v2.get(258, (1,)) if isinstance(image, TiffImageFile) else (1,)
    return max(bits) > 8 or image.mode.startswith(("I", "F"))


def _decode_deep(image: Image.Image, data: bytes, background: tuple[int, int, int]) -> np.ndarray:
    """An image with more than 8 bits a sample."""
    key = image.info.get("transparency") if image.format == "PNG" else None
    if image.mode.startswith(("I", "F")):
        values = np.asarray(_upright(image))[..., None]
    else:
        if image.format == "PNG":
            _check_chunks(data)
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if stored is None:
            raise UndecodableError("damaged, or of a kind with more than 8 bits that is not read")
        values = stored.reshape(*stored.shape[:2], -1)
        if values.shape[2] >= 3:
            values[..., :3] = values[..., 2::-1].copy()  # OpenCV has BGR
        if image.format == "PNG":  # OpenCV turns TIFFs, but no other image that it leaves unchanged
            values = _turn(values, image.getexif().get(ORIENTATION, 1))
    num_colors = 1 if values.shape[2] < 3 else 3
    colors = to_uint8(values[..., :num_colors])
    alpha = None
    if values.shape[2] > num_colors:
        alpha = alpha_to_uint8(values[..., num_colors:])
    elif key is not None:
        shown = (values != np.array(key)).any(axis=2, keepdims=True)
        alpha = np.where(shown, 255, 0)
    rgb = np.repeat(colors, 3 // num_colors, axis=2)
    return rgb if alpha is None else _mix(rgb, alpha, background)


def _check_chunks(data: bytes) -> None:
    """Raise UndecodableError for a PNG with a chunk that is longer than the rest of the file.

    OpenCV would take as much memory as the chunk says, up to 4 GiB for a file of 500 bytes.
    """
    at = 8  # after the signature
    while at + 8 <= len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "big")  # length, kind, content, checksum
    if at > len(data):
        raise UndecodableError("damaged: it ends within a chunk")


def exif_orientation(exif: bytes) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) if it cannot be read."""
    tags = Image.Exif()
    try:
        tags.load(exif)
        return int(tags.get(ORIENTATION, 1))
    except Exception:
        return 1


def _turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """The image [h, w, c] upright; an orientation beyond 1 to 8 says nothing."""
    if not 2 <= orientation <= 8:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)
