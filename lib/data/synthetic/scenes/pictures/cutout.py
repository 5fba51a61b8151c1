"""A picture of one object without its background, and how it is scaled, turned and trimmed."""

from dataclasses import dataclass

import cv2
import numpy as np

OPAQUE = 128  # the least alpha of a pixel that belongs to the object


@dataclass(frozen=True)
class Cutout:
    """An object without its background.

    image: uint8 [h, w, 3], blue, green, red. alpha: uint8 [h, w], 255 where the object is opaque.
    source: which picture this is, such as "quickdraw/cat/5152802093400064".
    """

    image: np.ndarray
    alpha: np.ndarray
    source: str


def trim(cutout: Cutout) -> Cutout:
    """The cutout without the empty rows and columns around its object."""
    rows = np.flatnonzero((cutout.alpha >= OPAQUE).any(axis=1))
    columns = np.flatnonzero((cutout.alpha >= OPAQUE).any(axis=0))
    if not len(rows):
        return cutout
    inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Cutout(cutout.image[inner], cutout.alpha[inner], cutout.source)


def pose(cutout: Cutout, side: float, angle: float, mirrored: bool) -> Cutout:
    """The cutout turned by `angle` degrees, with a longest side of about `side` pixels, trimmed."""
    image, alpha = cutout.image, cutout.alpha
    if mirrored:
        image, alpha = image[:, ::-1], alpha[:, ::-1]
    height, width = alpha.shape
    scale = side / max(height, width)
    turn = np.deg2rad(angle)
    cosine, sine = abs(np.cos(turn)) * scale, abs(np.sin(turn)) * scale
    new_width = max(2, int(np.ceil(width * cosine + height * sine)))
    new_height = max(2, int(np.ceil(width * sine + height * cosine)))
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale))
    matrix[:, 2] += (new_width / 2 - width / 2, new_height / 2 - height / 2)
    if scale < 0.5:  # linear interpolation alone would skip pixels
        small = (max(2, round(width * scale * 2)), max(2, round(height * scale * 2)))
        matrix[:, :2] @= np.diag((width / small[0], height / small[1]))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)
    size = (new_width, new_height)
    image = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return trim(Cutout(image, cv2.warpAffine(alpha, matrix, size), cutout.source))
