"""A picture of one object without its background, and how it is scaled, turned and trimmed."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

OPAQUE = 128  # the least alpha of a pixel that belongs to the object


@dataclass(frozen=True)
class CutoutPart:
    """A part of the object of a cutout, or what it wears, with a label of its own.

    alpha: uint8 [h, w], as that of the cutout. whole: the number of the part that it belongs to
    among the parts of the cutout, or -1 for the object.
    """

    label: str
    alpha: np.ndarray
    whole: int = -1


@dataclass(frozen=True)
class Cutout:
    """An object without its background.

    image: uint8 [h, w, 3], blue, green, red. alpha: uint8 [h, w], 255 where the object is opaque.
    source: which picture this is, such as "quickdraw/cat/5152802093400064".
    parts: what of it has a label of its own, the hindmost first.
    """

    image: np.ndarray
    alpha: np.ndarray
    source: str
    parts: tuple[CutoutPart, ...] = ()


def trim(cutout: Cutout) -> Cutout:
    """The cutout without the empty rows and columns around its object."""
    rows = np.flatnonzero((cutout.alpha >= OPAQUE).any(axis=1))
    columns = np.flatnonzero((cutout.alpha >= OPAQUE).any(axis=0))
    if not len(rows):
        return cutout
    inner = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    parts = tuple(replace(part, alpha=part.alpha[inner]) for part in cutout.parts)
    return Cutout(cutout.image[inner], cutout.alpha[inner], cutout.source, parts)


def pose(cutout: Cutout, side: float, angle: float, mirrored: bool) -> Cutout:
    """The cutout turned by `angle` degrees, with a longest side of about `side` pixels, trimmed."""
    height, width = cutout.alpha.shape
    scale = side / max(height, width)
    turn = np.deg2rad(angle)
    cosine, sine = abs(np.cos(turn)) * scale, abs(np.sin(turn)) * scale
    new_width = max(2, int(np.ceil(width * cosine + height * sine)))
    new_height = max(2, int(np.ceil(width * sine + height * cosine)))
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale))
    matrix[:, 2] += (new_width / 2 - width / 2, new_height / 2 - height / 2)
    small = (width, height)
    if scale < 0.5:  # linear interpolation alone would skip pixels
        small = (max(2, round(width * scale * 2)), max(2, round(height * scale * 2)))
        matrix[:, :2] @= np.diag((width / small[0], height / small[1]))

    def moved(pixels: np.ndarray, border: int) -> np.ndarray:
        pixels = pixels[:, ::-1] if mirrored else pixels
        if small != (width, height):
            pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
        return cv2.warpAffine(pixels, matrix, (new_width, new_height), borderMode=border)

    image = moved(cutout.image, cv2.BORDER_REPLICATE)
    alpha = moved(cutout.alpha, cv2.BORDER_CONSTANT)
    parts = tuple(
        replace(part, alpha=moved(part.alpha, cv2.BORDER_CONSTANT)) for part in cutout.parts
    )
    return trim(Cutout(image, alpha, cutout.source, parts))
