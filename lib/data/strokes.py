"""Drawings as strokes, in the format of Quick, Draw!: parsed, rasterized, truncated.

A line of simplified ndjson is {"key_id": "5152802093400064", "drawing": [[[x, ...], [y, ...]],
...], ...}: strokes in the order in which they were drawn, in a square of 256 units, touching its
left and upper edges.

`rasterize` follows the bitmaps that are published with the data: the drawing is centered in its
square, with a margin of 16 units and room for the line around it. The line is 16 units wide with
round ends. A pixel is as bright as the fraction of it that the line covers.
"""

import json

import cv2
import numpy as np

SQUARE, MARGIN, LINE_WIDTH = 256, 16, 16  # units
MAX_LINE = 1 << 20  # bytes; a drawing has some thousands, and JSON takes twenty times as many
SUPERSAMPLING = 14  # each pixel is the mean of a square of this side
FRACTION_BITS = 4  # of a coordinate on the canvas

Drawing = list[np.ndarray]  # strokes: int16 [points, 2], x and y


class RawDrawing(Exception):
    """A drawing as it was recorded, whose strokes have a third list, of times."""


def parse_drawing(line: bytes) -> tuple[str, Drawing]:
    """(key_id, strokes) of a line. Raises ValueError, with the reason, if it is not a drawing.

    key_id: as it stands in the file, text or an integer.
    """
    if len(line) > MAX_LINE:
        raise ValueError(f"a line of {len(line):,} bytes, at most {MAX_LINE:,}; not a drawing")
    try:
        record = json.loads(line)
        key = record["key_id"]
        if not isinstance(key, str | int) or isinstance(key, bool) or key == "":
            raise TypeError
        str(key).encode()  # UnicodeEncodeError, a ValueError: half a surrogate pair
        if any(len(stroke) == 3 for stroke in record["drawing"]):  # x, y and time
            raise RawDrawing
        strokes = [np.array(stroke[:2], np.float64).T for stroke in record["drawing"]]
    except RawDrawing:
        raise ValueError("a raw drawing, with times; use the simplified drawings") from None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a drawing: {type(error).__name__}") from None
    if not strokes or any(s.ndim != 2 or s.shape[1] != 2 or len(s) == 0 for s in strokes):
        raise ValueError("a drawing without strokes, or a stroke without points")
    if not all(s.min() >= 0 and s.max() < SQUARE for s in strokes):  # NaN is outside too
        raise ValueError(f"coordinates outside of 0 to {SQUARE - 1}")
    return str(key), [stroke.astype(np.int16) for stroke in strokes]


def rasterize(drawing: Drawing, side: int) -> np.ndarray:
    """uint8 [side, side]: white lines on black."""
    scale = side * SUPERSAMPLING / (SQUARE + 2 * MARGIN + LINE_WIDTH)
    extent = np.max([stroke.max(0) for stroke in drawing], axis=0)
    shift = (SQUARE - extent) / 2 + MARGIN + LINE_WIDTH / 2
    canvas = np.zeros((side * SUPERSAMPLING, side * SUPERSAMPLING), np.uint8)
    width = max(1, int(LINE_WIDTH * scale))
    for stroke in drawing:
        # A single point is drawn as a line from it to itself.
        line = np.repeat(stroke, 1 + (len(stroke) == 1), axis=0)
        points = np.round((line + shift) * scale * (1 << FRACTION_BITS)).astype(np.int32)
        cv2.polylines(canvas, [points], False, 255, width, cv2.LINE_8, FRACTION_BITS)
    return cv2.resize(canvas, (side, side), interpolation=cv2.INTER_AREA)


def truncate_strokes(drawing: Drawing, fraction: float) -> Drawing:
    """The drawing as it was when the first `fraction` (above 0, at most 1) of it was drawn.

    fraction: of the total length of the lines. The last stroke ends where the pen was. A drawing
    of a single point has no length and is returned complete.
    """
    steps = [np.hypot(*np.diff(stroke.astype(np.float64), axis=0).T) for stroke in drawing]
    remaining = fraction * sum(float(step.sum()) for step in steps)
    truncated: Drawing = []
    for stroke, step in zip(drawing, steps, strict=True):
        if remaining <= 0 and truncated:
            break
        ends = np.cumsum(step)
        num_steps = int(np.searchsorted(ends, remaining + 1e-9, "right"))
        part = stroke[: num_steps + 1].astype(np.float64)
        if num_steps < len(step):
            rest = remaining - (ends[num_steps - 1] if num_steps else 0.0)
            direction = stroke[num_steps + 1].astype(np.float64) - stroke[num_steps]
            part = np.vstack([part, stroke[num_steps] + direction * rest / step[num_steps]])
        truncated.append(np.round(part).astype(np.int16))
        remaining -= float(ends[-1]) if len(ends) else 0.0
    return truncated


def normalize_strokes(drawing: Drawing) -> Drawing:
    """Move a drawing to the left and upper edges and scale it until it reaches a third edge.

    Complete drawings are normalized like this; so a truncated one must not reveal its final size.
    """
    low = np.min([stroke.min(0) for stroke in drawing], axis=0)
    extent = int(np.max([(stroke - low).max() for stroke in drawing]))
    scale = (SQUARE - 1) / extent if extent else 1.0
    return [np.round((stroke - low) * scale).astype(np.int16) for stroke in drawing]
