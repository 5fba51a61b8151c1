"""The true annotation of a scene: boxes and flags, from what the pixels of its canvas show."""

from dataclasses import dataclass, field, replace

import numpy as np

from lib.data.synthetic.scenes.canvas import Canvas, extent
from lib.data.synthetic.scenes.pictures.photographs import Box

MIN_VISIBLE = 0.25  # of an object's pixels within the image; less is not annotated
MIN_PIXELS = 4  # shorter side of a box that is annotated
OCCLUDED, TRUNCATED = 0.9, 0.97  # visible fractions below which an object has these flags
UNKNOWN = -1  # of a flag
WHOLE_IMAGE = (0.0, 1.0, 0.0, 1.0)


@dataclass(frozen=True)
class SceneObject:
    """An object of a scene and its true annotation.

    box: (x_min, x_max, y_min, y_max), fractions of width and height; None until it is measured.
    Flags are 0, 1 or -1 (unknown), as in the tables. part_of: the number of the object that this
    one was placed in as a part, or -1.
    """

    label: str
    source: str
    box: Box | None = None
    occluded: int = 0
    truncated: int = 0
    group: int = 0
    depiction: int = 0
    inside: int = 0
    part_of: int = -1


@dataclass
class Scene:
    """A scene: its canvas, the objects by their numbers, and which of them is the subject.

    background: which picture the background is.
    """

    canvas: Canvas
    background: str = "generated"
    objects: list[SceneObject] = field(default_factory=list)
    subject: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        height, width = self.canvas.background.shape[:2]
        return width, height


def with_parts(scene: Scene, number: int) -> list[int]:
    """The numbers of an object, of its parts, and of theirs."""
    parts = [n for n, other in enumerate(scene.objects) if other.part_of == number]
    return [number, *(inner for part in parts for inner in with_parts(scene, part))]


def annotate(scene: Scene, shown: np.ndarray | None = None) -> dict[int, SceneObject]:
    """The objects that an annotator sees by number, the subject first, with boxes and flags.

    shown: int16 [h, w], what `scene.canvas.paint` says of each pixel; None to paint here.

    A box is the extent of the pixels that show the object or a part placed in it. Objects of which
    other objects hide three quarters, or that are smaller than 4 pixels, are left out, but the
    subject is not. A box that came with a photograph stays as it is.
    """
    if shown is None:
        _, shown = scene.canvas.paint()
    order = [scene.subject, *(n for n in range(len(scene.objects)) if n != scene.subject)]
    seen = {}
    for number in order:
        found = scene.objects[number]
        if found.box is not None:
            seen[number] = _given(found, shown)
            continue
        measured = _measured(scene, number, shown, is_subject=number == scene.subject)
        if measured is not None:
            seen[number] = measured
    return seen


def _measured(scene: Scene, number: int, shown: np.ndarray, is_subject: bool) -> SceneObject | None:
    """An object with the box of its visible pixels; None if too little of it is visible."""
    found, (width, height) = scene.objects[number], scene.size
    own = with_parts(scene, number)
    visible = np.isin(shown, own)
    box = extent(visible)
    if box is None and is_subject:  # thinner than a pixel, or hidden: where it was put
        box = extent(scene.canvas.outline(number))
    if box is None:
        return None
    total, within = scene.canvas.areas(own)
    fraction = int(visible.sum()) / max(1, within)
    small = min(box[1] - box[0], box[3] - box[2]) < MIN_PIXELS
    if (small or fraction < MIN_VISIBLE) and not is_subject:
        return None
    return replace(
        found,
        box=(box[0] / width, box[1] / width, box[2] / height, box[3] / height),
        occluded=int(fraction < OCCLUDED),
        truncated=int(within < TRUNCATED * total),
    )


def _given(found: SceneObject, shown: np.ndarray) -> SceneObject:
    """An object of a photograph, or a whole from inside: occluded where others were pasted."""
    assert found.box is not None
    height, width = shown.shape
    x_min, x_max, y_min, y_max = found.box
    rows = slice(int(y_min * height), max(int(y_min * height) + 1, round(y_max * height)))
    columns = slice(int(x_min * width), max(int(x_min * width) + 1, round(x_max * width)))
    covered = float((shown[rows, columns] >= 0).mean())
    hidden = found.inside != 1 and covered > 1 - OCCLUDED
    return replace(found, occluded=1 if hidden else found.occluded)
