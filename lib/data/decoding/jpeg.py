"""JPEG files: what the header says, and files that lack their last bytes."""

import math
from typing import NamedTuple

import cv2
import numpy as np

from lib.data.decoding.undecodable import UndecodableError

START, END = b"\xff\xd8\xff", b"\xff\xd9"
FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
STANDALONE = {0x00, 0x01, *range(0xD0, 0xD9)}  # markers that no length follows
FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of the header with the size
END_OF_IMAGE, START_OF_SCAN, APP1 = 0xD9, 0xDA, 0xE1
MAX_SCANS = 100  # of a progressive file, which has about ten
MAX_SCANNED = 1 << 31  # pixels times scans: some ten seconds
UNREAD = 128  # gray value of the pixels that libjpeg had no bytes for
MAX_MISSING = 0.1  # fraction of the rows that may be missing


class JpegHeader(NamedTuple):
    """height, width: 0 if there is no frame. exif: with its six bytes of name; empty for none."""

    height: int
    width: int
    exif: bytes

    @property
    def num_pixels(self) -> int:
        """The number of pixels; 0 if there is no frame."""
        return self.height * self.width


def read_header(data: bytes) -> JpegHeader:
    """Read the segments before the pixels.

    OpenCV reads the orientation from the first APP1 segment alone, which may hold XMP.
    """
    size, exif, at = (0, 0), b"", 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at = max(data.find(b"\xff", at), 0) or len(data)
            continue
        marker = data[at + 1]
        if marker in (END_OF_IMAGE, START_OF_SCAN):
            break
        if marker == 0xFF or marker in STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in FRAMES and at + 9 <= len(data):
            height, width = (int.from_bytes(data[i : i + 2], "big") for i in (at + 5, at + 7))
            size = max(size, (height, width), key=math.prod)
        elif marker == APP1 and not exif and data[at + 4 : at + 10] == b"Exif\0\0":
            exif = data[at + 4 : end]
        at = end
    return JpegHeader(*size, exif)


def check_scans(data: bytes, num_pixels: int) -> None:
    """Raise UndecodableError for a file of so many scans that it takes minutes or hours.

    Each scan costs a pass over all pixels, and may have few bytes. Source: libjpeg-turbo, "Two
    Issues with the JPEG Standard".
    """
    scans = data.count(b"\xff\xda")
    if scans > MAX_SCANS or (scans > 1 and scans * num_pixels > MAX_SCANNED):
        raise UndecodableError(f"{scans} scans of {num_pixels:,} pixels; save it again")


def decode_jpeg(data: bytes) -> np.ndarray | None:
    """uint8 [h, w, 3] RGB, not turned by its EXIF orientation; None if it is no readable JPEG.

    A file that lacks its end is read as browsers read it, if few rows are missing. Raises
    UndecodableError if many are.
    """
    image = _imdecode(data)
    if image is not None:
        return image
    image = _imdecode(data + END)
    if image is None:
        return None
    missing = _missing_rows(image)
    if missing > MAX_MISSING:
        raise UndecodableError(f"cut off: {missing:.0%} of its rows are missing; fetch it again")
    return image


def _imdecode(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), FLAGS)
    except cv2.error:
        return None


def _missing_rows(image: np.ndarray) -> float:
    """Fraction of the rows, from the bottom, that libjpeg filled with gray."""
    seen = np.flatnonzero((image != UNREAD).any(axis=(1, 2)))
    return 1.0 if len(seen) == 0 else 1 - (int(seen[-1]) + 1) / len(image)
