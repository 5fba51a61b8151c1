"""Values of more than 8 bits, as cameras and scanners write them, brought to 8 bits."""

import numpy as np

from lib.data.decoding.undecodable import UndecodableError
from lib.utils.chunks import chunks

ROWS = 256  # of an image that are computed at a time, so that memory is bounded
BITS = (8, 10, 12, 14, 16)  # of a sample, as sensors have them


def alpha_to_uint8(alpha: np.ndarray) -> np.ndarray:
    """uint8 of opacities, by the range of their type: an image may be faint all over.

    A smaller range is theirs only if the largest of them is the top of it.
    """
    if alpha.dtype != np.uint16:
        return to_uint8(alpha)
    tops = [(1 << bits) - 1 for bits in BITS]
    top = alpha.max(initial=0)
    return to_uint8(alpha, int(top) if top in tops else tops[-1])


def to_uint8(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """uint8 of values of any type, by the range that they really use, or from 0 to `top`.

    Integers: from 0 to the largest number of 8, 10, 12, 14 or 16 bits that holds all of them, since
    many programs store 12 bits in files of 16 without scaling them. Floats: 0 to 1, or 0 to 255.
    Raises UndecodableError for values beyond these ranges, whose black and white are unknown.
    """
    if values.dtype == np.uint8:
        return values
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high >= 1 << BITS[-1]:
        raise UndecodableError(f"values from {low:g} to {high:g}; scale them to 0 .. 65535")
    if top is None and values.dtype.kind == "f":
        if high > 255:
            raise UndecodableError(f"values from {low:g} to {high:g}; scale them to 0 .. 1")
        top = 1 if high <= 1 else 255
    elif top is None:
        top = (1 << next(bits for bits in BITS if high < 1 << bits)) - 1
    scaled, factor = np.empty(values.shape, np.uint8), np.float32(255 / top)
    for rows in chunks(len(values), ROWS):
        scaled[rows] = values[rows] * factor + np.float32(0.5)
    return scaled
